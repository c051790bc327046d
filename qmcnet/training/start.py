"""What is looked at before a run starts, so that a slip is answered at once and leaves nothing."""

from pathlib import Path

from qmcnet.molecule import Molecule
from qmcnet.scf import check_basis
from qmcnet.training.directory import check_own, is_run
from qmcnet.training.interruption import check_wall_time

MOST_WALKERS = 10**7
"""More cannot be meant: their positions alone are gigabytes, before anything is computed of them."""


def check_scalars(
    steps: int, batch_size: int, seed: int, wall_time: float | None, resume: bool, overwrite: bool
) -> None:
    """Refuse numbers out of range and switches that contradict each other.

    Args:
        steps: optimisation steps.
        batch_size: number of walkers.
        seed: seed of the random numbers.
        wall_time: seconds after which the run stops; None for no limit.
        resume: continue a run found in the directory.
        overwrite: move it aside.

    Raises:
        ValueError: naming the argument.
    """
    if not 2 <= batch_size <= MOST_WALKERS:
        raise ValueError(f"batch_size={batch_size} must be between 2 and {MOST_WALKERS} walkers")
    for name, value in {"steps": steps, "seed": seed}.items():
        if value < 0:
            raise ValueError(f"{name}={value} must not be negative")
    check_wall_time(wall_time)
    if overwrite and resume:
        raise ValueError("overwrite=true moves an earlier run aside only with resume=false")


def check_start(directory: Path, molecule: Molecule, basis: str | None) -> None:
    """Refuse what would end a run soon after its start.

    Args:
        directory: run directory.
        molecule: the system.
        basis: of the orbitals that a fresh run is pretrained on; None if there is no pretraining.

    Raises:
        RunDirectoryError: if the directory holds something else than a run.
        ValueError: if PySCF does not know the basis.
    """
    check_own(directory)
    if basis and not is_run(directory):
        check_basis(molecule, basis, "pretraining.basis")
