"""Electrons that follow nuclei to another geometry.

An electron close to a nucleus moves with it, one between several with their mean, so that the walkers of one geometry
are nearly those of another.

References:
    Umrigar, Int. J. Quantum Chem. 36 (S23), 217 (1989), doi:10.1002/qua.560360826;
    Filippi, Umrigar, Phys. Rev. B 61, R16291 (2000), doi:10.1103/PhysRevB.61.R16291 (the fourth power).

Dimension letters: B walkers, N electrons, A nuclei.
"""

import torch
from torch import Tensor

POWER = 4
CLOSEST = 1e-9
"""Distance in bohr below which an electron stands on a nucleus, where the weight would not be finite."""


def space_warp(positions: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Move electrons by r' = r + sum_A w_A(r) (R'_A - R_A), with w_A proportional to |r - R_A|^-4 and sum_A w_A = 1.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        before: nuclear positions that the electrons belong to, shape (A, 3), in bohr.
        after: where these nuclei go, shape (A, 3), in bohr.

    Returns:
        Moved positions, shape (B, N, 3), in bohr.
    """
    old, new = before.to(positions.device, torch.float64), after.to(positions.device, torch.float64)
    distances = torch.cdist(positions.double(), old, compute_mode="donot_use_mm_for_euclid_dist")  # (B, N, A)
    weights = distances.clamp(min=CLOSEST) ** -POWER
    moved = positions + (weights / weights.sum(-1, keepdim=True)) @ (new - old)
    return moved.to(positions.dtype)
