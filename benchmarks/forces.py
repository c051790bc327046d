"""What is the variance of estimators of forces, how far are they off, and what does a force cost?

Takes finished runs. Their walkers are moved on with frozen parameters, and every estimator sees the same ones:

* bare: Hellmann-Feynman, the force of electrons and nuclei on a nucleus;
* zero-variance: with derivatives of local energy and log|psi| by the nuclei, and electrons where they are;
* zero-variance, warp: electrons follow the nuclei; both of these keep parameters, and need one reverse pass;
* carried: the wavefunction is carried along by the nuclei, as in `observables=[forces]`, for several powers of
  distance and nuclear charge in the weights, and several reaches of the tail near nodes.

The cost is the processor time of forces over that of local energies, at the same walkers.

    python benchmarks/forces.py RUN ... [--steps 100] [--only-carried] [--json FILE]
"""

import argparse
import logging
import math
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fixed_parameters
import numpy as np
import torch
from common import machine, print_table, store
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.config.build import load
from qmcnet.operators import forces as carried
from qmcnet.operators.operator import States
from qmcnet.stages.simulation import Simulation
from qmcnet.system import warp as warped

POWERS = ((2.5, 0.75), (2.5, 1.0), (3.0, 0.75), (4.0, 0.0))
"""Of 1/r and, within it, of the nuclear charge; the first is what is offered."""
REACHES = (0.0, 0.02, 0.05, 0.1, 0.2)
"""Reaches of the tail, in bohr."""


@contextmanager
def powers(of_distance: float, of_charge: float) -> Generator[None, None, None]:
    """Weigh the nuclei otherwise for a while.

    Args:
        of_distance: power of 1/r.
        of_charge: of the nuclear charge, within it.

    Yields:
        Nothing.
    """
    kept = warped.POWER, warped.CHARGE_POWER
    warped.POWER, warped.CHARGE_POWER = of_distance, of_distance * of_charge
    try:
        yield
    finally:
        warped.POWER, warped.CHARGE_POWER = kept


def bare(states: States, charges: Tensor) -> Tensor:
    """Evaluate the slope of the potential energy, shape (M, A, 3), in hartree/bohr."""
    still = torch.zeros(*states.positions.shape[:2], len(charges), dtype=torch.float64)
    return carried.coulomb_slope(states, warped.Warp(still, still, still), charges)


def estimates(
    forces: carried.Forces, run: Simulation, states: States, all_of_them: bool
) -> Iterator[tuple[str, Tensor]]:
    """Evaluate forces along z on the last nucleus by each estimator, and what its mean takes: F, b and E_L, (M, 3)."""
    charges, local = forces.charges, run.hamiltonian(states).total.reshape(-1)

    def along_z(slope: Tensor, weight: Tensor | None = None, energy: Tensor = local) -> Tensor:
        """Take the component."""
        b = torch.zeros_like(energy) if weight is None else weight[:, -1, 2]
        return torch.stack([-(slope[:, -1, 2] + energy * b), b, energy], -1)

    if all_of_them:
        positions = run.walkers.positions
        yield "bare", along_z(bare(states, charges))
        yield "zero-variance", along_z(*fixed_parameters.parts(run.ensemble, positions, states, None))
        with powers(4, 0):
            moving = warped.warp(states.positions, states.nuclei, charges)
            yield "zero-variance, warp", along_z(*fixed_parameters.parts(run.ensemble, positions, states, moving))
    reaches = [(POWERS[0], reach) for reach in REACHES] if all_of_them else []
    offered = min(carried.REACH, carried.SHARE * carried.Forces(run.ensemble.molecule).typical)
    forces.typical = math.inf  # the reach is what is said here
    for (of_distance, of_charge), reach in [*((each, offered) for each in POWERS), *reaches]:
        with powers(of_distance, of_charge):
            forces.reach = max(reach, 1e-12)
            slope = -(forces(states)[:, :-3, 0] / states.psi).unflatten(1, (-1, 3))
            yield f"carried, {of_distance:g} {of_charge:g}, tail {reach:g}", along_z(slope)


def described(samples: NDArray[Any]) -> dict[str, float]:
    """Say what an estimator gives.

    Args:
        samples: of steps and walkers, shape (T, B, 3).

    Returns:
        Force and error in hartree/bohr, standard deviation of a sample, share of its square in the largest 1e-4.
    """
    flat = samples.reshape(-1, 3)
    values = flat[:, 0] + flat[:, 2].mean() * flat[:, 1]
    groups = values.reshape(len(samples), 32, -1).mean((0, 2))
    squares = np.sort((values - values.mean()) ** 2)
    share = squares[-max(1, len(squares) // 10_000) :].sum() / squares.sum()
    error = groups.std(ddof=1) / len(groups) ** 0.5
    return {"force": groups.mean(), "error": error, "deviation": values.std(), "largest 1e-4": share}


def cost(forces: carried.Forces, run: Simulation, all_of_them: bool, repeats: int = 6) -> dict[str, float]:
    """Divide the processor time of forces by that of local energies."""
    states = run.states()
    works: dict[str, Callable[[], object]] = {
        "energy": lambda: run.hamiltonian(run.states()),
        "carried": lambda: forces(states),
    }
    if all_of_them:
        works["zero-variance"] = lambda: fixed_parameters.parts(run.ensemble, run.walkers.positions, states, None)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.process_time()
            work()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {name: median / medians["energy"] for name, median in medians.items()}


def measure(directory: Path, steps: int, all_of_them: bool) -> list[dict[str, Any]]:
    """Sample a finished run of a single real state.

    Args:
        directory: of the run, which is left as it is.
        steps: steps of all walkers.
        all_of_them: whether to take the estimators that qmcnet does not offer, too.

    Returns:
        A row for each estimator.
    """
    run = load(str(directory), "cpu", False).load_trained().simulation
    forces, ratios = carried.Forces(run.molecule), {}
    all_of_them = all_of_them and not run.molecule.ecp
    ratios = cost(forces, run, all_of_them)
    samples: dict[str, list[NDArray[Any]]] = {}
    for _ in range(steps):
        run.sweep(adapt=False)
        for name, columns in estimates(forces, run, run.states(), all_of_them):
            samples.setdefault(name, []).append(columns.numpy())
    nuclei = run.molecule.nuclei
    length = f"{nuclei.diff(dim=0).norm():.4g}" if len(nuclei) == 2 else "-"
    rows = {name: described(np.stack(columns)) for name, columns in samples.items()}
    return [
        {"system": run.molecule.formula, "length": length, "estimator": name, **row}
        | {"cost": ratios.get(name.split(",")[0], float("nan"))}
        for name, row in rows.items()
    ]


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only-carried", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    print(machine())
    rows: list[dict[str, Any]] = []
    for directory in arguments.runs:
        found = measure(directory, arguments.steps, not arguments.only_carried)
        print_table(found)
        rows += found
        store(arguments.json, steps=arguments.steps, rows=rows)


if __name__ == "__main__":
    main()
