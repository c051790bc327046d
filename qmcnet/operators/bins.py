"""Bins of equal width for distances."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.checks import at_least, positive


@dataclass(frozen=True)
class Bins:
    """Bins between zero and a largest distance.

    Attributes:
        n_bins: their number.
        largest: upper end of the last one, in bohr; longer distances are in none.
    """

    n_bins: int
    largest: float

    def __post_init__(self) -> None:
        """Refuse what bins nothing.

        Raises:
            ValueError: for a number out of range.
        """
        at_least(1, n_bins=self.n_bins)
        positive(largest=self.largest)

    @property
    def centers(self) -> tuple[float, ...]:
        """Middle of each bin, in bohr."""
        return tuple((i + 0.5) * self.largest / self.n_bins for i in range(self.n_bins))

    def density(self, distances: Tensor) -> Tensor:
        """Count distances by bin.

        Args:
            distances: shape (..., K), in bohr.

        Returns:
            Counts divided by the width of a bin, shape (..., n_bins), float64, in 1/bohr.
        """
        width = self.largest / self.n_bins
        # One more bin takes all that is too far.
        place = (distances.double() / width).floor().clamp(max=self.n_bins).long()
        counts = torch.zeros((*distances.shape[:-1], self.n_bins + 1), dtype=torch.float64, device=distances.device)
        return counts.scatter_add_(-1, place, torch.ones_like(distances, dtype=torch.float64))[..., :-1] / width
