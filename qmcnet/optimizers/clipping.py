"""Clipping of local energies, so that a few walkers near a node do not steer an update.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429
    (the window of five mean absolute deviations).

Letters: B walkers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.checks import one_of, positive

# A deviation counts for no more than this many median ones. Of local energies of LiH and C in training half a percent
# are further out, and the window is 0.92 to 1.00 times that of the plain mean. One walker of 512 at -1e6 hartree widens
# it by 2 percent, that of the plain mean by a factor of 10^4.
FURTHEST = 20.0


@dataclass(frozen=True)
class Clipping:
    """Pulls local energies into a window about their centre.

    Attributes:
        width: half-width of the window, in mean absolute deviations from the centre, to which no walker adds more than
            20 median ones; None leaves energies as they are.
        center: 'median', which outliers do not move, or 'mean'.
        shape: 'hard' cuts at the edges, 'tanh' bends towards them: centre + window tanh((E_L - centre) / window).
    """

    width: float | None = 5.0
    center: str = "median"
    shape: str = "hard"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a width that is not positive, an unknown centre or an unknown shape.
        """
        positive(width=self.width)
        one_of(("mean", "median"), center=self.center)
        one_of(("hard", "tanh"), shape=self.shape)

    def __call__(self, local_energy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Clip the local energies of a batch.

        Args:
            local_energy: energies of the G factors of a walker, shape (B, G), in hartree; each has a window of its own.

        Returns:
            Clipped energies (B, G), those that are not finite left as they are, and as `outliers` the number of walkers
            of which one is outside of its window.
        """
        if self.width is None:
            return local_energy, {"outliers": torch.zeros((), device=local_energy.device)}
        finite = local_energy.isfinite()
        energy = torch.where(finite, local_energy, 0)
        center = median(energy, finite) if self.center == "median" else mean(energy, finite)
        apart = energy - center
        furthest = FURTHEST * median(apart.abs(), finite)
        window = self.width * mean(torch.minimum(apart.abs(), furthest), finite)
        outliers = finite & (apart.abs() > window)
        if self.shape == "hard":
            clipped = apart.clamp(-window, window)
        else:  # a window of zero has nothing to bend
            clipped = window * torch.tanh(apart / window.clamp(min=torch.finfo(window.dtype).tiny))
        return torch.where(finite, center + clipped, local_energy), {"outliers": outliers.any(-1).sum()}


def median(values: Tensor, finite: Tensor) -> Tensor:
    """Find the lower median of each column, without waiting for the device.

    Args:
        values: shape (B, ...).
        finite: which of them count.

    Returns:
        Shape (1, ...); infinite where none counts.
    """
    ordered = torch.where(finite, values, torch.inf).sort(0).values
    return ordered.gather(0, (finite.sum(0, keepdim=True) - 1).clamp(min=0) // 2)


def mean(values: Tensor, finite: Tensor) -> Tensor:
    """Average each column.

    Args:
        values: shape (B, ...).
        finite: which of them count.

    Returns:
        Shape (1, ...); zero where none counts.
    """
    return torch.where(finite, values, 0).sum(0, keepdim=True) / finite.sum(0, keepdim=True).clamp(min=1)
