"""Symmetric proposals: the density of x -> y equals that of y -> x, so that it drops out of the acceptance.

Dimension letters: B walkers, N electrons.
"""

from dataclasses import dataclass

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
        """Draw from the standard normal distribution.

        Args:
            like: has the shape (B, ...) and the dtype of the numbers.

        Returns:
            Numbers, shape (B, ...).
        """

        def draw(n: int) -> Tensor:
            """Draw for all walkers."""
            shape = (n, *like.shape[1:])
            return torch.randn(shape, generator=self.generator, dtype=like.dtype, device=like.device)

        return drawn(draw, len(like), self.count)

    def uniform(self, like: Tensor) -> Tensor:
        """Draw between 0 and 1.

        Args:
            like: has the shape (B,) and the dtype of the numbers.

        Returns:
            Numbers, shape (B,).
        """

        def draw(n: int) -> Tensor:
            """Draw for all walkers."""
            return torch.rand((n,), generator=self.generator, dtype=like.dtype, device=like.device)

        return drawn(draw, len(like), self.count)

    def choice(self, below: int, like: Tensor) -> Tensor:
        """Draw whole numbers from 0.

        Args:
            below: the first that is not drawn.
            like: has as many rows B.

        Returns:
            One for each walker, shape (B, 1).
        """

        def draw(n: int) -> Tensor:
            """Draw for all walkers."""
            return torch.randint(below, (n, 1), generator=self.generator, device=like.device)

        return drawn(draw, len(like), self.count)


def all_electron(positions: Tensor, width: Tensor, draws: Draws) -> Tensor:
    """Displace every electron, r' = r + width * normal.

    Args:
        positions: electron positions, (B, N, 3), bohr.
        width: standard deviation of each Cartesian displacement, 0-dim, bohr.
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
        width: standard deviation of each Cartesian displacement, 0-dim, bohr.
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
