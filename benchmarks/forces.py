"""What is the variance of estimators of forces, what does the regularised tail change, and what does a force cost?

Takes finished runs. Their walkers are moved on with frozen parameters, and every estimator sees the same ones:

* bare: Hellmann-Feynman, the force of electrons and nuclei on a nucleus;
* zero-variance: with derivatives of local energy and log|psi| by the nuclei, and electrons where they are;
* warp: electrons follow the nuclei, as in `observables=[forces]`, for several reaches of the tail near nodes.

The cost is the processor time of forces over that of local energies, at the same walkers.

    python benchmarks/forces.py RUN ... [--steps 100] [--json FILE]
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import machine, print_table, store
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.config.build import load
from qmcnet.operators.forces import Forces, node_distance, tail
from qmcnet.operators.operator import States
from qmcnet.stages.simulation import Simulation
from qmcnet.system.warp import warp_slopes, warp_weights

TAILS = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Reaches of the tail times the largest nuclear charge, in bohr."""


def bare(states: States, charges: Tensor) -> Tensor:
    """Evaluate the slope of the potential energy, shape (M, A, 3), in hartree/bohr."""
    vectors = states.nuclei[:, None] - states.positions[:, None]  # (M, A, N, 3)
    attraction = (vectors / vectors.norm(dim=-1, keepdim=True) ** 3).sum(-2) * charges[:, None]
    apart = states.nuclei[:, None] - states.nuclei  # (A, A, 3)
    distances = apart.norm(dim=-1, keepdim=True) + torch.eye(len(charges))[..., None].to(apart)
    return attraction - (charges[:, None] * charges)[..., None].mul(apart / distances**3).sum(1)


def estimates(forces: Forces, states: States, charges: Tensor) -> dict[str, Tensor]:
    """Evaluate what each estimator is made of, as the components of `Forces`, shape (M, 6 A + 1)."""
    found, gradient = states.response(forces.local_energy), states.log_gradient[:, 0].real
    weights = warp_weights(states.positions, states.nuclei)
    energy, distance = found.value[:, None], node_distance(gradient)
    slope = found.by_nuclei + weights.mT @ found.by_electrons
    weight = 2 * (found.log_by_nuclei + weights.mT @ gradient)
    weight = weight + warp_slopes(states.positions, states.nuclei, weights).sum(1)

    def joined(slope: Tensor, weight: Tensor, factor: Tensor | float = 1.0) -> Tensor:
        """Put the parts together as `Forces` does."""
        of_slope, of_weight = slope.flatten(1) + energy * weight.flatten(1), weight.flatten(1)
        return torch.cat([factor * of_slope, factor * of_weight, energy], -1)

    fixed = torch.zeros_like(slope)
    made = {
        "bare": joined(bare(states, charges), fixed),
        "zero-variance": joined(found.by_nuclei, 2 * found.log_by_nuclei),
    }
    for reach in TAILS:
        factor = tail(distance * charges.max() / reach)[:, None] if reach else 1.0
        made[f"warp, tail {reach:g}"] = joined(slope, weight, factor)
    return made


def described(forces: Forces, samples: NDArray[Any]) -> dict[str, float]:
    """Say what an estimator gives along z for the last nucleus.

    Args:
        forces: makes forces of averages.
        samples: of steps and walkers, shape (T, B, 6 A + 1).

    Returns:
        Force and error in hartree/bohr, standard deviation of a sample, share of its square in the largest 1e-4.
    """
    flat = samples.reshape(-1, samples.shape[-1])
    place, n = len(forces.places) - 1, len(forces.places)
    values = -(flat[:, place] - flat[:, -1].mean() * flat[:, n + place])
    groups = samples.mean(0).reshape(32, -1, samples.shape[-1]).mean(1)
    means, errors = forces.report(groups)
    squares = np.sort((values - values.mean()) ** 2)
    share = squares[-max(1, len(squares) // 10_000) :].sum() / squares.sum()
    return {"force": means[place], "error": errors[place], "deviation": values.std(), "largest 1e-4": share}


def cost(forces: Forces, run: Simulation, repeats: int) -> float:
    """Divide the processor time of forces by that of local energies."""
    states = run.states()
    works: dict[str, Callable[[], object]] = {
        "energy": lambda: run.hamiltonian(run.states()),
        "forces": lambda: forces(states),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return medians["forces"] / medians["energy"]


def measure(directory: Path, steps: int) -> list[dict[str, Any]]:
    """Sample a finished run.

    Args:
        directory: of the run, which is left as it is.
        steps: steps of all walkers.

    Returns:
        A row for each estimator.
    """
    run = load(str(directory), "cpu", False).load_trained().simulation
    forces, charges = Forces(run.molecule), run.molecule.charges.double()
    ratio = cost(forces, run, 6)
    samples: dict[str, list[NDArray[Any]]] = {}
    for _ in range(steps):
        run.sweep(adapt=False)
        for name, columns in estimates(forces, run.states(), charges).items():
            samples.setdefault(name, []).append(columns.numpy())
    nuclei = run.molecule.nuclei
    length = f"{nuclei.diff(dim=0).norm():.4g}" if len(nuclei) == 2 else "-"
    rows = {name: described(forces, np.stack(columns)) for name, columns in samples.items()}
    return [
        {"system": run.molecule.formula, "length": length, "estimator": name, **row, "cost": ratio}
        for name, row in rows.items()
    ]


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    print(machine())
    rows: list[dict[str, Any]] = []
    for directory in arguments.runs:
        found = measure(directory, arguments.steps)
        print_table(found)
        rows += found
        store(arguments.json, steps=arguments.steps, rows=rows)


if __name__ == "__main__":
    main()
