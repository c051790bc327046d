"""Where does the variance of a trained wavefunction sit: near nuclei, in pairs of electrons, near nodes?

Samples a finished run, and shares out the squared deviations of the local energy by where a walker is: by the distance
of its nearest electron and nucleus, of its nearest two electrons of opposite and of equal spin, and by |grad log psi|
over its median, which is large near nodes. Shares of walkers stand beside shares of variance.

    python benchmarks/variance.py RUN [--steps 200]
"""

import argparse
from pathlib import Path

import torch
from common import machine, print_table
from torch import Tensor

from qmcnet.compute.process import prepare_process
from qmcnet.config.build import load

NEAR = {"nucleus": 0.05, "opposite spins": 0.1, "equal spins": 0.1}
"""Bohr."""
STEEP = 3.0
"""Times the median of |grad log psi| from which on a walker counts as near a node."""


def sample(directory: Path, steps: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Sample a run.

    Args:
        directory: run directory of a single state.
        steps: sweeps after fifty that are not counted.

    Returns:
        Local energies in hartree, and where walkers are near something, by its name, each (steps B,).
    """
    simulation = load(directory, device="cpu").load_trained().simulation
    molecule, energies, places = simulation.molecule, list[Tensor](), list[dict[str, Tensor]]()
    for step in range(-50, steps):
        simulation.sweep(adapt=step < 0)
        if step >= 0:
            states = simulation.states()
            energies.append(simulation.hamiltonian(states).total.real)
            steepness = states.log_gradient[:, 0].abs().square().sum((-2, -1)).sqrt()
            places.append(distances(states.positions, molecule.nuclei, molecule.n_up) | {"node": steepness})
    found = {name: torch.cat([place[name] for place in places]) for name in places[0]}
    near = {name: found[name] < limit for name, limit in NEAR.items()}
    return torch.cat(energies), near | {"node": found["node"] > STEEP * found["node"].median()}


def distances(positions: Tensor, nuclei: Tensor, n_up: int) -> dict[str, Tensor]:
    """Measure the smallest distances of each walker.

    Args:
        positions: shape (B, N, 3), in bohr.
        nuclei: shape (A, 3), in bohr.
        n_up: electrons of spin up, which come first.

    Returns:
        By name, each (B,), in bohr; infinite where there is no such pair.
    """
    up = torch.arange(positions.shape[1]) < n_up
    pairs = torch.cdist(positions, positions)
    pairs = pairs + torch.zeros_like(pairs[0]).fill_diagonal_(torch.inf)
    equal = up[:, None] == up

    def smallest(which: Tensor) -> Tensor:
        """Take the smallest distance of some pairs."""
        return torch.where(which, pairs, torch.inf).flatten(1).amin(-1)

    nearest = torch.cdist(positions, nuclei.to(positions)).flatten(1).amin(-1)
    return {"nucleus": nearest, "opposite spins": smallest(~equal), "equal spins": smallest(equal)}


def main() -> None:
    """Read the arguments, sample, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepare_process()
    print(machine())
    energies, near = sample(arguments.run, arguments.steps)
    squares = (energies - energies.mean()).square()
    worst = squares >= squares.quantile(0.99)
    rows = [
        {"near": name, "walkers %": 100 * chosen.double().mean().item(), "variance %": share(squares, chosen)}
        for name, chosen in (near | {"(the worst 1 %)": worst}).items()
    ]
    for row, chosen in zip(rows, [*near.values(), worst], strict=True):
        row["of the worst 1 %"] = 100 * (chosen & worst).double().sum().item() / worst.sum().item()
    print(f"variance {energies.var().item():.4g} hartree^2 from {len(energies)} samples")
    print_table(rows)


def share(squares: Tensor, chosen: Tensor) -> float:
    """Tell what some walkers contribute.

    Args:
        squares: squared deviations of all.
        chosen: which are meant.

    Returns:
        Percent.
    """
    return 100 * float(squares[chosen].sum() / squares.sum())


if __name__ == "__main__":
    main()
