"""Generations at one time step, and what is averaged over them.

Letters: T generations, C quantities measured.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.statistics.estimate import Estimate
from qmcnet.statistics.mixed import equilibrated, mixed

KEPT = ("energy", "log_weight", "variance", "accepted", "crossed", "effective", "heaviest", "reconfigured")
"""Figures of each generation that estimates are made of, before what was measured."""


@dataclass
class Visit:
    """Generations at one time step, one after the other.

    Attributes:
        place: which time step.
        rows: figures of each generation, KEPT and what was measured, each (8 + C,).
        open: whether more follow.
    """

    place: int
    rows: list[Tensor]
    open: bool = True
    _looked: "tuple[int, Part] | None" = field(default=None, repr=False)

    def part(self, window: int, least: int) -> "Part":
        """Find what is stationary, anew where generations were added since it was asked for last.

        Args:
            window: generations over which past weights count.
            least: generations to leave out at the start in any case.

        Returns:
            The generations, with what is left out of them.
        """
        if self._looked is None or self._looked[0] != len(self.rows):
            columns = np.asarray(torch.stack(self.rows).cpu())
            part = Part(columns, window, *equilibrated(columns[:, 0], columns[:, 1], window, least))
            self._looked = len(self.rows), part
        return self._looked[1]


@dataclass(frozen=True)
class Part:
    """A visit that is looked at.

    Attributes:
        columns: figures of each generation, shape (T, 8 + C).
        window: generations over which past weights count.
        discarded: generations at the start that do not count.
        energy: estimate of the energy, in hartree.
    """

    columns: NDArray[np.float64]
    window: int
    discarded: int
    energy: Estimate

    def mean(self, number: int) -> Estimate:
        """Estimate the mean of a figure, by its number."""
        return mixed(self.columns[:, number], self.columns[:, 1], self.window, self.discarded)
