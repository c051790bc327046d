"""Coulomb interaction of electrons and nuclei.

Letters: B walkers, N electrons, A nuclei.
"""

import torch
from torch import Tensor


def electron_nucleus(positions: Tensor, nuclei: Tensor, charges: Tensor) -> Tensor:
    """Attraction of electrons and nuclei: -sum_iA Z_A / |r_i - R_A|.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.
        nuclei: nuclear positions, shape (A, 3), in bohr.
        charges: nuclear charges, shape (A,), in units of e.

    Returns:
        Energy, shape (B,), in hartree.
    """
    distances = torch.linalg.vector_norm(positions[..., :, None, :] - nuclei, dim=-1)  # (B, N, A)
    return -(charges / distances).sum((-2, -1))


def electron_electron(positions: Tensor) -> Tensor:
    """Repulsion of electrons: sum_{i<j} 1 / |r_i - r_j|.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.

    Returns:
        Energy, shape (B,), in hartree.
    """
    i, j = torch.triu_indices(positions.shape[-2], positions.shape[-2], offset=1, device=positions.device)
    distances = torch.linalg.vector_norm(positions[..., i, :] - positions[..., j, :], dim=-1)
    return distances.reciprocal().sum(-1)
