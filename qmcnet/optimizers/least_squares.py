"""Damped least squares min_v |O v - e|^2 + damping |v|^2, by whichever of O O^T and O^T O is smaller.

O (B G, P) are the scores of the walkers and e (B G,) their energies, both centred and divided by sqrt(B).

References:
    Chen, Heyl, Nat. Phys. 20, 1476 (2024), doi:10.1038/s41567-024-02566-1 (MinSR: the solution in the space of
    walkers); Rende, Viteritti, Bardone, Becca, Goldt, Commun. Phys. 7, 260 (2024), doi:10.1038/s42005-024-01732-4.

Letters: B walkers, G functions of a walker, P parameters.
"""

from typing import Protocol

import torch
from torch import Tensor

from qmcnet.compute.team import team
from qmcnet.optimizers.gradient import centred, centred_share
from qmcnet.optimizers.leave_one_out import right_hand_side, unbent
from qmcnet.optimizers.operator import ScoreOperator


def solve_definite(matrix: Tensor, right: Tensor, rounding: float) -> tuple[Tensor, Tensor]:
    """Solve a positive definite system that rounding may have made indefinite.

    One factorisation, without waiting for a GPU to say how it went: what failed there gives NaN. A CPU has the answer
    at once, and damps the matrix at the level of its rounding errors. To damp every matrix like this would cost
    precision: the bound on the errors is ten to a hundred times what they do.

    Args:
        matrix: shape (n, n); changed where it has to be damped.
        right: shape (n,).
        rounding: relative rounding error of the products summed in the matrix.

    Returns:
        The solution (n,), NaN if there is none, and whether the matrix was not definite.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    lost = indefinite = failed != 0
    if matrix.device.type == "cpu" and indefinite:
        matrix.diagonal().add_(rounding * matrix.trace())
        factor, failed = torch.linalg.cholesky_ex(matrix)
        lost = failed != 0
    # A failed factorisation leaves finite but wrong numbers.
    return torch.where(lost, torch.nan, torch.cholesky_solve(right[:, None], factor)[:, 0]), indefinite


def centre(gram: Tensor, finite: Tensor) -> None:
    """Centre both sides of a matrix of products, each function of the walkers for itself, in place.

    Args:
        gram: shape (B G, B G).
        finite: walkers that count, shape (B,); rows and columns of the others become zero.
    """
    lost, count = ~finite[:, None, None], finite.sum().clamp(min=1)
    for side in (gram, gram.mT):
        grouped = side.unflatten(0, (len(finite), -1))  # (B, G, B G)
        grouped.masked_fill_(lost, 0)
        grouped.sub_(grouped.sum(0) / count)
        grouped.masked_fill_(lost, 0)


def whose_are_finite(scores: ScoreOperator) -> Tensor:
    """Tell which of all walkers have finite scores.

    Args:
        scores: of all walkers.

    Returns:
        Shape (B,).
    """
    own = scores.finite.unflatten(0, (len(range(scores.count)[team().own]), -1)).all(-1)
    return team().gather([own], scores.count)[0]


class System(Protocol):
    """The normal equations of one batch.

    Attributes:
        matrix: O O^T or O^T O.
        rank: the largest that it can have.
        n_walkers: rows of O, B G.
        finite: walkers that count, shape (B,): those asked for whose scores are finite.
    """

    matrix: Tensor
    rank: Tensor
    n_walkers: int
    finite: Tensor

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Length of O^T e for the energies e (B G,)."""

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply O O^T with columns (B G, W)."""

    def leave_one_out(self, target: Tensor, damping: float) -> Tensor:
        """Energies (B G,) whose solution is the one in which no walker has bent the curvature for itself."""

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solution v (P,) for the right-hand side (B G,); and whether the matrix was not definite."""


class WalkerSystem:
    """Normal equations in the space of walkers: v = O^T (O O^T + damping)^-1 e."""

    def __init__(self, scores: ScoreOperator, finite: Tensor) -> None:
        """Form the kernel of the scores.

        Args:
            scores: of all walkers.
            finite: walkers that count, shape (B,).
        """
        self.asked, self.finite = finite, finite & whose_are_finite(scores)
        self.scores, self.count = scores, self.finite.sum().clamp(min=1).double()
        self.matrix = scores.kernel()
        centre(self.matrix, self.finite)
        self.matrix /= self.count
        self.n_walkers, self.n_functions = len(self.matrix), len(self.matrix) // len(finite)
        self.rank = (self.n_functions * (self.count - 1)).clamp(max=scores.n_parameters)

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Measure the gradient of half the energy.

        Args:
            target: centred energies over sqrt(B), shape (B G,).

        Returns:
            |O^T e|, in hartree.
        """
        own = right_hand_side(target, self.asked, self.finite)
        return (own @ self.matrix @ own).clamp(min=0).sqrt()

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply the kernel of the walkers with vectors.

        Args:
            vectors: columns, shape (B G, W).

        Returns:
            O O^T times each, shape (B G, W).
        """
        return self.matrix @ vectors

    def leave_one_out(self, target: Tensor, damping: float) -> Tensor:
        """Correct energies for what each walker does to the curvature, see `unbent`.

        Args:
            target: centred energies over sqrt(B), shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The energies that take the place of the target, shape (B G,).
        """
        kernel = self.matrix.clone()
        kernel.diagonal().add_(damping)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(kernel)[0])
        sizes = (len(self.finite), self.n_functions)
        own = inverse.unflatten(1, sizes).unflatten(0, sizes).diagonal(dim1=0, dim2=2)  # (G, G, B)
        return unbent(target, damping * own.permute(2, 0, 1), self.asked, self.finite)

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solve for a direction.

        Args:
            residual: right-hand side, shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The direction (P,), and whether the kernel was not definite.
        """
        # Centring makes the constant vector of each function an exact null direction: lift it, as the authors of
        # SPRING do.
        kernel = self.matrix.clone()
        sizes = (len(self.finite), self.n_functions)
        kernel.unflatten(1, sizes).unflatten(0, sizes).diagonal(dim1=1, dim2=3).add_(1 / len(self.finite))
        kernel.diagonal().add_(damping)
        own, rounding = right_hand_side(residual, self.asked, self.finite), 10 * torch.finfo(self.scores.dtype).eps
        solution, indefinite = solve_definite(kernel, own, rounding)
        weights = centred(solution, self.finite) / self.count.sqrt()
        return self.scores.transposed_times(weights.to(self.scores.dtype)), indefinite


class ParameterSystem:
    """Normal equations in the space of parameters: v = (O^T O + damping)^-1 O^T e."""

    def __init__(self, scores: ScoreOperator, finite: Tensor) -> None:
        """Form the scores and their products.

        Args:
            scores: of all walkers.
            finite: walkers that count, shape (B,).
        """
        self.asked, self.finite = finite, finite & whose_are_finite(scores)
        dense, count = scores.dense(), self.finite.sum()
        n_functions = len(dense) // len(team().share(finite))
        self.scores = centred_share(dense.double(), self.finite) / count.clamp(min=1).double().sqrt()  # (b G, P)
        (self.matrix,) = team().sum([self.scores.mT @ self.scores])
        self.n_walkers = n_functions * len(finite)
        self.rank = (n_functions * (count - 1)).clamp(max=scores.n_parameters)
        self.dtype = scores.dtype

    def gradient_norm(self, target: Tensor) -> Tensor:
        """Measure the gradient of half the energy.

        Args:
            target: centred energies over sqrt(B), shape (B G,).

        Returns:
            |O^T e|, in hartree.
        """
        return self._transposed_times(right_hand_side(target, self.asked, self.finite)).norm()

    def kernel_times(self, vectors: Tensor) -> Tensor:
        """Multiply the kernel of the walkers with vectors.

        Args:
            vectors: columns, shape (B G, W).

        Returns:
            O O^T times each, shape (B G, W).
        """
        return team().gather([self.scores @ self._transposed_times(vectors)], len(self.finite))[0]

    def leave_one_out(self, target: Tensor, damping: float) -> Tensor:
        """Correct energies for what each walker does to the curvature, see `unbent`.

        Args:
            target: centred energies over sqrt(B), shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The energies that take the place of the target, shape (B G,).
        """
        matrix = self.matrix.clone()
        matrix.diagonal().add_(damping)
        factor = torch.linalg.cholesky_ex(matrix)[0]
        whitened = torch.linalg.solve_triangular(factor, self.scores.mT, upper=False)  # (P, b G)
        functions = whitened.mT.unflatten(0, (len(team().share(self.finite)), -1))  # (b, G, P)
        left = torch.eye(functions.shape[1], dtype=functions.dtype, device=functions.device) - functions @ functions.mT
        return unbent(target, team().gather([left], len(self.finite))[0], self.asked, self.finite)

    def _transposed_times(self, vectors: Tensor) -> Tensor:
        """Multiply O^T with what all walkers have, (B G, ...)."""
        own = team().share(vectors.unflatten(0, (len(self.finite), -1))).flatten(0, 1)
        return team().sum([self.scores.mT @ own])[0]

    def solve(self, residual: Tensor, damping: float) -> tuple[Tensor, Tensor]:
        """Solve for a direction.

        Args:
            residual: right-hand side, shape (B G,).
            damping: weight of the length of the direction.

        Returns:
            The direction (P,), and whether the matrix was not definite.
        """
        matrix = self.matrix.clone()
        matrix.diagonal().add_(damping)
        own = right_hand_side(residual, self.asked, self.finite)
        solution, indefinite = solve_definite(matrix, self._transposed_times(own), 10 * torch.finfo(self.dtype).eps)
        return solution.to(self.dtype), indefinite


def normal_equations(scores: ScoreOperator, finite: Tensor) -> System:
    """Choose the smaller of the two systems, which have the same solution.

    Args:
        scores: of all walkers.
        finite: walkers that count, shape (B,).

    Returns:
        The system in the space of parameters if these are fewer than the walkers.
    """
    return (ParameterSystem if scores.n_parameters < len(finite) else WalkerSystem)(scores, finite)
