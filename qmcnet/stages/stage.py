"""The interface of a stage, the statistics rows that stages return, and what a stage is timed by.

Letters: B walkers, S states.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from qmcnet.operators import LocalEnergy
from qmcnet.operators.hamiltonian import trace
from qmcnet.stages.simulation import Simulation

Row = dict[str, Tensor | float]
"""Statistics of one step by name; tensors stay on the device until a writer needs them. A matrix stands for its
eigenvalues."""

Numbers = dict[str, float]
"""Statistics of one step on the host."""


@dataclass(frozen=True)
class Record:
    """What a stage makes of the steps since the last fetch.

    Attributes:
        rows: the step and its statistics, for the table of the stage and for TensorBoard.
        scalars: further figures of the last step, for TensorBoard alone, by tag.
        lost: whether the state is as good as lost, so that the run goes back.
    """

    rows: Sequence[tuple[int, Numbers]]
    scalars: Mapping[str, float] = field(default_factory=dict)
    lost: bool = False


def _unknown() -> None:
    """Predict nothing."""


@dataclass(frozen=True)
class Trial:
    """A step to be timed, which leaves the run as it is, and is made with what walkers the simulation has at the time.

    Attributes:
        linear: does what takes a time in proportion to the walkers.
        steep: does the rest, of which a part grows with their square; None where there is none.
        memory: predicts the GiB that a step needs on top of parameters and walkers; None where it is not known.
    """

    linear: Callable[[], object]
    steep: Callable[[], object] | None = None
    memory: Callable[[], float | None] = _unknown


class StartsAgain(Exception):
    """Raised by a stage that cannot be continued from a saved state, which is whole; says why."""


class Stage(Protocol):
    """A part of a run that advances step by step and can be saved between any two.

    Stages inherit from it what most of them do alike: `record`, `tag` and `memory`.

    Attributes:
        name: names its folder, its checkpoints and its section of the findings.
        table: name of the file that gets a row for each step.
        of_trained: whether it leaves the parameters as they were trained.
        step: steps made.
    """

    name: str
    table: str
    of_trained: bool = False
    step: int

    @property
    def may_end_early(self) -> bool:
        """Whether fewer steps than are planned may do."""

    @property
    def open_ended(self) -> bool:
        """Whether it is not known yet how many of the steps it will need."""
        return False

    def finished(self) -> bool:
        """Whether no step is left to do."""

    def progress(self) -> tuple[int, int]:
        """Steps done and steps planned."""

    def advance(self) -> Row:
        """Do one step and return its statistics; none of a step that is not to be recorded."""

    def record(self, rows: Sequence[tuple[int, Numbers]]) -> Record:
        """Take note of all steps since the last fetch.

        Args:
            rows: step and statistics of each.

        Returns:
            What is written of them; the same by default.
        """
        return Record(rows)

    def tag(self, column: str) -> str:
        """Name a column of the table in TensorBoard.

        Args:
            column: its name in the table.

        Returns:
            The tag.
        """
        return f"{self.name}/{column}"

    def status(self, row: Numbers) -> str:
        """Say in a few words where the stage stands."""

    def memory(self) -> float | None:
        """Predict the GiB that a step needs on top of parameters and walkers.

        Returns:
            The GiB; None where it is not known, as by default, since an optimisation needs more than all others.
        """
        return None

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare a step of this kind, of a simulation that is used for nothing else."""

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Do what belongs to the end of the stage, with files in the folder of the result; return plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


def summarize(energy: LocalEnergy) -> dict[str, Tensor]:
    """Statistics of the local energies of one step, of their real parts if they are complex: the rest averages to zero.

    Walkers whose local energy is not finite are counted and left out of the averages.

    Args:
        energy: the local energy of every walker.

    Returns:
        Mean, variance, extremes, potential and all terms, in hartree, and the number of non-finite walkers; the mean
        local energy matrix as `state`, shape (S, S), whose eigenvalues a writer shows.
    """
    total = energy.total.real
    finite = torch.isfinite(total)
    kept = torch.where(finite, total, torch.nan)
    mean = kept.nanmean()
    parts = {"potential": energy.potential} | {name: trace(term) for name, term in energy.terms.items()}
    return {
        "state": _mean_energy_matrix(energy, finite),
        "energy": mean,
        "variance": (kept - mean).square().nanmean(),
        "minimum": torch.where(finite, total, torch.inf).amin(),
        "maximum": torch.where(finite, total, -torch.inf).amax(),
        **{name: torch.where(finite, part.real, torch.nan).nanmean() for name, part in parts.items()},
        "nonfinite": (~finite).sum(),
    }


def _mean_energy_matrix(energy: LocalEnergy, finite: Tensor) -> Tensor:
    def mean(matrices: Tensor) -> Tensor:
        """Average over the walkers that count."""
        return torch.where(finite[:, None, None], matrices, 0).sum(0) / finite.sum()

    matrix: Tensor = torch.linalg.solve_ex(mean(energy.overlap), mean(energy.matrix))[0]
    return matrix
