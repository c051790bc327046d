"""Clipping of local energies, so that a few walkers near a node do not steer an update.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429
    (the window of five mean absolute deviations).

Letters: B walkers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.optimizers.gradient import check_choice


@dataclass(frozen=True)
class Clipping:
    """Pulls local energies into a window about their centre.

    Attributes:
        width: half-width of the window, in mean absolute deviations from the centre; None leaves energies as they are.
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
        if self.width is not None and not 0 < self.width < math.inf:
            raise ValueError(f"width={self.width} must be positive and finite; None turns clipping off")
        check_choice("center", self.center, ("mean", "median"))
        check_choice("shape", self.shape, ("hard", "tanh"))

    def __call__(self, local_energy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Clip the local energies of a batch.

        Args:
            local_energy: shape (B,), or of every state (B, S), in hartree; each state has a window of its own, and so
                has the imaginary part of complex energies.

        Returns:
            Clipped energies (B,), those that are not finite left as they are, and as `outliers` the number of walkers
            outside of the window, of the real part if there are two.
        """
        if local_energy.is_complex():
            real, statistics = self(local_energy.real)
            return torch.complex(real, self(local_energy.imag)[0]), statistics
        if local_energy.ndim == 2:
            columns = [self(column) for column in local_energy.unbind(-1)]
            return torch.stack([energy for energy, _ in columns], -1), {
                "outliers": torch.stack([statistics["outliers"] for _, statistics in columns]).sum()
            }
        if self.width is None:
            return local_energy, {"outliers": torch.zeros((), device=local_energy.device)}
        finite = torch.isfinite(local_energy)
        energy = torch.where(finite, local_energy, torch.nan)
        center = energy.nanmedian() if self.center == "median" else energy.nanmean()
        apart = energy - center
        window = self.width * apart.abs().nanmean()
        outliers = (apart.abs() > window).sum()
        if self.shape == "hard":
            clipped = apart.clamp(-window, window)
        else:  # a window of zero has nothing to bend
            clipped = window * torch.tanh(apart / window.clamp(min=torch.finfo(window.dtype).tiny))
        return torch.where(finite, center + clipped, local_energy), {"outliers": outliers}
