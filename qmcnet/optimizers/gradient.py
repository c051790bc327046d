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


def without_lost_walkers(positions: Tensor, local_energy: Tensor) -> Tensor:
    """Put walkers whose local energy is not finite onto one whose is.

    Their weight in the gradient is zero, but zero times a derivative that is not finite would still be lost.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        local_energy: shape (B,), in hartree.

    Returns:
        Positions at which every derivative is finite, shape (B, N, 3), in bohr.
    """
    finite = torch.isfinite(local_energy)
    good = positions.index_select(0, finite.to(torch.uint8).argmax().view(1))
    return torch.where(finite[:, None, None], positions, good)


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
