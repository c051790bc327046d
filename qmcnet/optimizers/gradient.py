"""The energy gradient from scores: grad E = 2 <(E_L - <E_L>) grad log|psi|>.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429
    (clipping of local energies).

Letters: B walkers.
"""

import torch
from torch import Tensor


def centred_energies(local_energy: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Clip local energies about their median and subtract the mean of what is left.

    Walkers whose local energy is not finite get weight zero. The median, unlike the mean, is not moved by the
    outliers that the clipping is there to remove.

    Args:
        local_energy: shape (B,), in hartree.
        clip: half-width of the window, in mean absolute deviations; 0 turns clipping off.

    Returns:
        Centred energies (B,), zero where not finite, and the share of walkers that were clipped.
    """
    finite = torch.isfinite(local_energy)
    energy = torch.where(finite, local_energy, torch.nan)
    median = energy.nanmedian()
    energy = torch.where(finite, energy, median)
    if clip > 0:
        window = clip * (energy - median).abs().mean()
        clipped = energy.clamp(median - window, median + window)
    else:
        clipped = energy
    mean = torch.where(finite, clipped, 0).sum() / finite.sum()
    return torch.where(finite, clipped - mean, 0), (clipped != energy).double().mean()


def check_positive(**values: float) -> None:
    """Refuse settings that must be positive.

    Args:
        **values: settings by name.

    Raises:
        ValueError: naming the first that is not positive.
    """
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value} must be positive")
