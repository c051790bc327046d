"""Electrons that follow nuclei to another geometry, so that the walkers of one are nearly those of another.

Dimension letters: B walkers, N electrons, A nuclei.
"""

import torch
from torch import Tensor

from qmcnet.system.warp import warp_weights


def space_warp(positions: Tensor, before: Tensor, after: Tensor, charges: Tensor) -> Tensor:
    """Move electrons by r' = r + sum_A w_A(r) (R'_A - R_A), with the weights w_A of the space warp.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        before: nuclear positions that the electrons belong to, shape (A, 3), in bohr.
        after: where these nuclei go, shape (A, 3), in bohr.
        charges: of the nuclei, shape (A,).

    Returns:
        Moved positions, shape (B, N, 3), in bohr.
    """
    old, new, charges = (value.to(positions.device, torch.float64) for value in (before, after, charges))
    moved = positions + warp_weights(positions.double(), old, charges) @ (new - old)
    return moved.to(positions.dtype)
