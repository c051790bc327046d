"""The interface of a stage, and the statistics rows that stages return."""

from typing import Any, Protocol

import torch
from torch import Tensor

from qmcnet.operators import LocalEnergy

Row = dict[str, Tensor | float]
"""Statistics of one step by name; tensors stay on the device until a writer needs them. A matrix stands for its
eigenvalues."""


class Stage(Protocol):
    """A part of a run that advances step by step and can be saved between any two."""

    name: str
    order: int
    step: int

    def finished(self) -> bool:
        """Whether no step is left to do."""

    def advance(self) -> Row:
        """Do one step and return its statistics."""

    def progress(self) -> tuple[int, int]:
        """Steps done and steps planned."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


def summarize(energy: LocalEnergy) -> Row:
    """Statistics of the local energies of one step, of their real parts if they are complex.

    Walkers whose local energy is not finite are counted and left out of the averages.

    Args:
        energy: the local energy of every walker.

    Returns:
        Mean, variance, extremes and parts, in hartree, and the number of non-finite walkers; of several states also
        the mean local energy matrix as `state`, shape (S, S), whose eigenvalues a writer shows.
    """
    energy = energy.real
    total = energy.total
    finite = torch.isfinite(total)
    kept = torch.where(finite, total, torch.nan)
    mean = kept.nanmean()
    row: Row = {} if energy.matrix is None else {"state": _mean_energy_matrix(energy, finite)}
    return row | {
        "energy": mean,
        "variance": (kept - mean).square().nanmean(),
        "minimum": torch.where(finite, total, torch.inf).amin(),
        "maximum": torch.where(finite, total, -torch.inf).amax(),
        "kinetic": torch.where(finite, energy.kinetic, torch.nan).nanmean(),
        "potential": torch.where(finite, energy.potential, torch.nan).nanmean(),
        "nonfinite": (~finite).sum(),
    }


def _mean_energy_matrix(energy: LocalEnergy, finite: Tensor) -> Tensor:
    def mean(matrices: Tensor) -> Tensor:
        return torch.where(finite[:, None, None], matrices, 0).sum(0) / finite.sum()

    assert energy.matrix is not None
    if energy.overlap_matrix is None:
        return mean(energy.matrix)
    matrix: Tensor = torch.linalg.solve_ex(mean(energy.overlap_matrix), mean(energy.matrix))[0]
    return matrix
