"""Gaussian proposals, of one width everywhere or of widths that grow with the distance to the nuclei.

With one width the density of x -> y equals that of y -> x and drops out of the acceptance. With widths that depend on
the place, the acceptance has the ratio of the two densities (Hastings, Biometrika 57, 97 (1970),
doi:10.1093/biomet/57.1.97).

Dimension letters: B walkers, N electrons.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute.team import drawn


@dataclass(frozen=True)
class Draws:
    """Random numbers of the walkers of this process, among those of all.

    Attributes:
        generator: source of randomness on the device of the walkers.
        count: number of all walkers.
    """

    generator: torch.Generator
    count: int

    def normal(self, like: Tensor) -> Tensor:
        """Draw from the standard normal distribution, in the shape (B, ...) and dtype of a tensor."""
        given: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        shape = like.shape[1:]
        return self._drawn(lambda n, source: torch.randn((n, *shape), generator=source, **given), len(like))

    def uniform(self, like: Tensor) -> Tensor:
        """Draw between 0 and 1, in the shape (B, ...) and dtype of a tensor."""
        given: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        shape = like.shape[1:]
        return self._drawn(lambda n, source: torch.rand((n, *shape), generator=source, **given), len(like))

    def choice(self, below: int, like: Tensor) -> Tensor:
        """Draw a whole number from 0 for each walker of a tensor (B, ...), shape (B, 1)."""
        device = like.device
        return self._drawn(lambda n, source: torch.randint(below, (n, 1), generator=source, device=device), len(like))

    def _drawn(self, draw: Callable[[int, torch.Generator], Tensor], rows: int) -> Tensor:
        return drawn(draw, self.generator, rows, self.count)


def all_electron(positions: Tensor, width: Tensor, draws: Draws) -> Tensor:
    """Displace every electron, r' = r + width * normal.

    Args:
        positions: electron positions, (B, N, 3), bohr.
        width: standard deviation of each Cartesian displacement, bohr, one for all or that of each electron (B, N, 1).
        draws: random numbers of these walkers.

    Returns:
        Proposed positions, (B, N, 3), bohr.
    """
    return positions + width * draws.normal(positions)


def check_blocks(n_blocks: int, n_electrons: int) -> None:
    """Refuse more groups than there are electrons.

    Args:
        n_blocks: number of groups.
        n_electrons: number of electrons.

    Raises:
        ValueError: there are more groups than electrons.
    """
    if n_blocks > n_electrons:
        raise ValueError(f"n_blocks={n_blocks} is more than the {n_electrons} electrons: choose 1..{n_electrons}")


def one_block(positions: Tensor, width: Tensor, draws: Draws, n_blocks: int) -> Tensor:
    """Displace one of `n_blocks` groups of consecutive electrons, drawn anew for each walker.

    The random choice makes each single move reversible (a fixed order would only do so for a whole cycle)
    and leaves no counter to carry.

    Args:
        positions: electron positions, (B, N, 3), bohr.
        width: standard deviation of each Cartesian displacement, bohr, one for all or that of each electron (B, N, 1).
        draws: random numbers of these walkers.
        n_blocks: number of groups, of equal size up to one; N moves single electrons.

    Returns:
        Proposed positions, (B, N, 3), bohr.
    """
    n_electrons = positions.shape[1]
    check_blocks(n_blocks, n_electrons)
    block = torch.arange(n_electrons, device=positions.device) * n_blocks // n_electrons
    chosen = draws.choice(n_blocks, positions)
    moved = (block == chosen)[..., None]  # (B, N, 1)
    return torch.where(moved, positions + width * draws.normal(positions), positions)


def log_ratio(before: Tensor, after: Tensor, width_before: Tensor, width_after: Tensor) -> Tensor:
    """Compare the proposal that leads back with the one that was made: log q(after -> before) / q(before -> after).

    Args:
        before: electron positions, (B, N, 3), bohr.
        after: proposed positions, (B, N, 3), bohr; electrons that stay add nothing.
        width_before: width of the displacement of each electron that was made, (B, N, 1), bohr.
        width_after: width of the one that would lead back, (B, N, 1), bohr.

    Returns:
        Shape (B,).
    """
    squares = (after - before).square().sum(-1, keepdim=True)  # (B, N, 1)
    exponents = squares * (width_before.pow(-2) - width_after.pow(-2)) / 2
    return (exponents - 3 * (width_after / width_before).log()).sum((-2, -1))
