"""What every optimiser does to energies and walkers before it differentiates: grad E = 2 <(E_L - <E_L>) grad log|psi|>.

Letters: B walkers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def centred(values: Tensor, finite: Tensor) -> Tensor:
    """Subtract the mean over walkers that are not lost, and put zero at those that are.

    Args:
        values: shape (B, ...).
        finite: which walkers are not lost, shape (B,).

    Returns:
        Centred values, shape (B, ...).
    """
    finite = finite.view(-1, *[1] * (values.dim() - 1))
    mean = torch.where(finite, values, 0).sum(0) / finite.sum().clamp(min=1)
    return torch.where(finite, values - mean, 0)


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


def check_share(**values: float) -> None:
    """Refuse settings that must be at least zero and less than one.

    Args:
        **values: settings by name.

    Raises:
        ValueError: naming the first out of range.
    """
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value} must be in [0, 1)")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a setting that is none of the allowed words.

    Args:
        name: name of the setting.
        value: its value.
        choices: allowed values.

    Raises:
        ValueError: naming the setting, its value and the choices.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}")
