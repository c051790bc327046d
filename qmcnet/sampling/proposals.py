"""Symmetric proposals: the density of x -> y equals that of y -> x, so that it drops out of the acceptance.

Dimension letters: B walkers, N electrons.
"""

import torch
from torch import Tensor


def all_electron(positions: Tensor, width: Tensor, generator: torch.Generator) -> Tensor:
    """Displace every electron, r' = r + width * normal.

    Args:
        positions: electron positions, (B, N, 3), bohr.
        width: standard deviation of each Cartesian displacement, 0-dim, bohr.
        generator: source of randomness on the device of `positions`.

    Returns:
        Proposed positions, (B, N, 3), bohr.
    """
    return positions + width * _normal(positions, generator)


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


def one_block(positions: Tensor, width: Tensor, generator: torch.Generator, n_blocks: int) -> Tensor:
    """Displace one of `n_blocks` groups of consecutive electrons, drawn anew for each walker.

    The random choice makes each single move reversible (a fixed order would only do so for a whole cycle)
    and leaves no counter to carry.

    Args:
        positions: electron positions, (B, N, 3), bohr.
        width: standard deviation of each Cartesian displacement, 0-dim, bohr.
        generator: source of randomness on the device of `positions`.
        n_blocks: number of groups, of equal size up to one; N moves single electrons.

    Returns:
        Proposed positions, (B, N, 3), bohr.
    """
    n_walkers, n_electrons, _ = positions.shape
    check_blocks(n_blocks, n_electrons)
    block = torch.arange(n_electrons, device=positions.device) * n_blocks // n_electrons
    chosen = torch.randint(n_blocks, (n_walkers, 1), generator=generator, device=positions.device)
    moved = (block == chosen)[..., None]  # (B, N, 1)
    return torch.where(moved, positions + width * _normal(positions, generator), positions)


def _normal(positions: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(positions.shape, generator=generator, dtype=positions.dtype, device=positions.device)
