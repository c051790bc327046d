"""Damped least squares min_v |O v - e|^2 + damping |v|^2, by whichever of O O^T and O^T O is smaller.

O (B G, P) are the scores of the walkers and e (B G,) their energies, both centred and divided by sqrt(B).

References:
    Chen, Heyl, Nat. Phys. 20, 1476 (2024), doi:10.1038/s41567-024-02566-1 (MinSR: the solution in the space of
    walkers); Rende, Viteritti, Bardone, Becca, Goldt, Commun. Phys. 7, 260 (2024), doi:10.1038/s42005-024-01732-4.

Letters: B walkers, G functions of a walker, P parameters.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from qmcnet.optimizers.gradient import centred
from qmcnet.optimizers.operator import ScoreOperator


class Factor(NamedTuple):
    """Cholesky factor of a positive definite matrix.

    Attributes:
        lower: lower triangular factor, NaN if there is none.
        lifted: whether rounding had made the matrix indefinite, and more damping was needed.
    """

    lower: Tensor
    lifted: Tensor


def robust_cholesky(matrix: Tensor, rounding: float) -> Factor:
    """Factorise a matrix that rounding may have made indefinite.

    A failed factorisation leaves finite but wrong numbers. It is replaced, without waiting for a GPU to say whether it
    failed, by that of the matrix damped at the level of its rounding errors, and by NaN should that fail too.

    Args:
        matrix: positive definite up to rounding, shape (n, n).
        rounding: relative rounding error of the products summed in the matrix.

    Returns:
        The factor, and whether it is that of the damped matrix.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not matrix.is_cuda and not failed:
        return Factor(factor, failed != 0)
    lift = rounding * matrix.trace() * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    lifted, lost = torch.linalg.cholesky_ex(matrix + lift)
    return Factor(torch.where(failed == 0, factor, torch.where(lost == 0, lifted, torch.nan)), failed != 0)


class System(Protocol):
    """The normal equations of one batch.

    Attributes:
        matrix: O O^T or O^T O.
        rank: the largest that it can have.
        n_walkers: rows of O, B G.
    """

    matrix: Tensor
    rank: Tensor
    n_walkers: int

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Length of O^T e for the energies e (B G,)."""

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply O O^T with columns (B G, W)."""

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solution v (P,) for the right-hand side (B G,), and whether the matrix had to be damped further."""


class WalkerSystem:
    """Normal equations in the space of walkers: v = O^T (O O^T + damping)^-1 e."""

    def __init__(self, scores: ScoreOperator, finite: Tensor) -> None:
        """Form the kernel of the scores.

        Args:
            scores: of all walkers.
            finite: walkers that count, shape (B,).
        """
        self.scores, self.finite = scores, finite
        self.count = finite.sum().clamp(min=1).double()
        self.matrix = centred(centred(scores.kernel(), finite).mT, finite).mT / self.count
        self.n_walkers, self.n_functions = len(self.matrix), len(self.matrix) // len(finite)
        self.rank = (self.n_functions * (self.count - 1)).clamp(max=scores.n_parameters)

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Measure the gradient of half the energy.

        Args:
            target: centred energies over sqrt(B), shape (B G,).

        Returns:
            |O^T e|, in hartree.
        """
        return (target @ self.matrix @ target).clamp(min=0).sqrt()

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply the kernel of the walkers with vectors.

        Args:
            vectors: columns, shape (B G, W).

        Returns:
            O O^T times each, shape (B G, W).
        """
        return self.matrix @ vectors

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solve for a direction.

        Args:
            residual: right-hand side, shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The direction (P,), and whether the kernel had to be damped further.
        """
        # Centring makes the constant vector of each function an exact null direction: lift it, as the authors of
        # SPRING do.
        kernel = self.matrix.clone()
        sizes = (len(self.finite), self.n_functions)
        kernel.unflatten(1, sizes).unflatten(0, sizes).diagonal(dim1=1, dim2=3).add_(1 / len(self.finite))
        kernel.diagonal().add_(damping)
        factor = robust_cholesky(kernel, 10 * torch.finfo(self.scores.dtype).eps)
        solution = centred(torch.cholesky_solve(residual[:, None], factor.lower), self.finite)[:, 0]
        weights = solution / self.count.sqrt()
        return self.scores.transposed_times(weights.to(self.scores.dtype)), factor.lifted


class ParameterSystem:
    """Normal equations in the space of parameters: v = (O^T O + damping)^-1 O^T e."""

    def __init__(self, scores: ScoreOperator, finite: Tensor) -> None:
        """Form the scores and their products.

        Args:
            scores: of all walkers.
            finite: walkers that count, shape (B,).
        """
        dense = scores.dense()
        self.scores = centred(dense.double(), finite) / finite.sum().clamp(min=1).double().sqrt()  # (B G, P)
        self.matrix = self.scores.mT @ self.scores
        self.n_walkers = len(dense)
        self.rank = (len(dense) // len(finite) * (finite.sum() - 1)).clamp(max=scores.n_parameters)
        self.rounding, self.dtype = 10 * torch.finfo(dense.dtype).eps, dense.dtype

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Measure the gradient of half the energy.

        Args:
            target: centred energies over sqrt(B), shape (B G,).

        Returns:
            |O^T e|, in hartree.
        """
        return (target @ self.scores).norm()

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply the kernel of the walkers with vectors.

        Args:
            vectors: columns, shape (B G, W).

        Returns:
            O O^T times each, shape (B G, W).
        """
        return self.scores @ (self.scores.mT @ vectors)

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solve for a direction.

        Args:
            residual: right-hand side, shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The direction (P,), and whether the matrix had to be damped further.
        """
        matrix = self.matrix.clone()
        matrix.diagonal().add_(damping)
        factor = robust_cholesky(matrix, self.rounding)
        solution = torch.cholesky_solve((residual @ self.scores)[:, None], factor.lower)[:, 0]
        return solution.to(self.dtype), factor.lifted


def normal_equations(scores: ScoreOperator, finite: Tensor) -> System:
    """Choose the smaller of the two systems, which have the same solution.

    Args:
        scores: of all walkers.
        finite: walkers that count, shape (B,).

    Returns:
        The system in the space of parameters if these are fewer than the walkers.
    """
    return (ParameterSystem if scores.n_parameters < len(finite) else WalkerSystem)(scores, finite)
