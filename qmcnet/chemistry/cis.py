"""Configuration interaction with single excitations, from PySCF, which is imported on first use."""

from typing import Any

import torch
from torch import Tensor


def cis_roots(solution: Any, n: int) -> list[tuple[Tensor, Tensor]]:
    """Find the lowest roots of both spins together: singlets and triplets alike of a closed shell.

    Args:
        solution: unrestricted mean field of PySCF.
        n: number of roots.

    Returns:
        Amplitudes of each root for spin up and spin down, (n_occupied, n_virtual) each.
    """
    # The whole matrix is diagonalised: PySCF's iterations miss roots, and all that lie below the mean field.
    from pyscf import lib, tdscf

    with lib.with_omp_threads(1):
        up, mixed, down = map(torch.tensor, tdscf.uhf.get_ab(solution)[0])  # (n, n_virtual, n, n_virtual) each
    n_up, n_down = up.shape[:2].numel(), down.shape[:2].numel()
    mixed = mixed.reshape(n_up, n_down)
    matrix = torch.cat(
        [
            torch.cat([up.reshape(n_up, n_up), mixed], 1),
            torch.cat([mixed.T, down.reshape(n_down, n_down)], 1),
        ]
    )
    roots = torch.linalg.eigh(matrix).eigenvectors.T[:n]
    return [(root[:n_up].view(up.shape[:2]), root[n_up:].view(down.shape[:2])) for root in roots]
