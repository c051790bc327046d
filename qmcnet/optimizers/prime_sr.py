"""PRIME-SR: the momentum of SPRING from the spectrum of the kernel, without a parameter to tune.

The published method decomposes the kernel at every update. Here the leading eigenvectors come from a few steps of
subspace iteration that start from those of the update before, which costs a few products with as many columns as the
effective dimension (ten or so), and the rank is that of the centred scores.

References:
    Wang, Liu, arXiv:2604.18357.
"""

import math
from typing import Any

import torch
from torch import Tensor

ITERATIONS = 6


class PrincipalMomentum:
    """mu = 1 - (1 - sqrt(beta)) (1 - (alpha / rank)^(1/4)).

    alpha = (tr K)^2 / tr K^2 is the effective dimension of the kernel K, and beta the overlap of its ceil(alpha)
    leading eigenvectors with those of the update before, |V^T V_old| / sqrt(the smaller number of columns).
    """

    def __init__(self) -> None:
        """Start without an update before."""
        self.leading: Tensor | None = None

    def __call__(self, kernel: Tensor, rank: Tensor) -> Tensor:
        """Compute the momentum and remember the leading eigenvectors.

        Args:
            kernel: centred products of scores, shape (n, n).
            rank: largest rank that the kernel can have.

        Returns:
            The momentum; 0 at the first update, and without a single walker that counts.
        """
        none = kernel.new_zeros(())
        alpha = kernel.trace().square() / kernel.square().sum()
        dimension = float(alpha)  # the one number that a GPU is waited for
        if not 0 < dimension < math.inf:
            return none
        before = self.leading
        self.leading = leading = principal_vectors(kernel, min(math.ceil(dimension), len(kernel)), before)
        if before is None:
            return none
        smaller = min(leading.shape[1], before.shape[1])
        overlap = ((leading.mT @ before).norm() / smaller**0.5).clamp(max=1)
        share = (alpha / rank.clamp(min=1)).clamp(max=1)
        return 1 - (1 - overlap.sqrt()) * (1 - share**0.25)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"leading": self.leading}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where to compute.
        """
        self.leading = None if state["leading"] is None else state["leading"].to(device)


def principal_vectors(matrix: Tensor, size: int, start: Tensor | None) -> Tensor:
    """Find the leading eigenvectors of a positive semidefinite matrix by subspace iteration.

    Args:
        matrix: shape (n, n).
        size: how many.
        start: a first guess, shape (n, any number); missing columns are those of the matrix.

    Returns:
        Orthonormal columns, shape (n, size).
    """
    guess = matrix[:, :0] if start is None else start[:, :size]
    vectors = torch.cat([guess, matrix[:, : size - guess.shape[1]]], 1)
    for _ in range(ITERATIONS):
        vectors = torch.linalg.qr(matrix @ vectors).Q
    return vectors
