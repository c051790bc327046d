"""Blocks of an approximate Fisher matrix F = <(O - <O>)(O - <O>)^T> of the scores O = d log|psi| / d theta.

A linear layer has O_b = sum_m s_bm x_bm^T with inputs x and signals s of its rows m (electrons, pairs). Taking rows as
independent of one another, and inputs of signals, F = A (x) G - v v^T with A = <x x^T>, G = M <s s^T> and
v = <x> (x) sqrt(M) <s>. Without the last term, which centres the scores, this is the block of repeated dense layers
of the reference.

References:
    Martens, Grosse, ICML 2015, arXiv:1503.05671 (Kronecker factors and their damping);
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429
    (layers repeated over electrons).

Letters: B walkers, M rows of a walker, F features.
"""

from typing import Protocol

import torch
from torch import Tensor

from qmcnet.laplacian.kernels import linear
from qmcnet.optimizers.operator import LayerScores

Averages = dict[str, Tensor]
"""Averages over walkers, or what was computed from them, by name."""


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Decompose a positive semidefinite matrix; one that is not finite gives eigenvalues that say so.

    Args:
        matrix: shape (n, n).

    Returns:
        Eigenvalues (n,), none negative, and eigenvectors (n, n).
    """
    good = matrix.isfinite().all()
    values, basis = torch.linalg.eigh(torch.where(good, matrix, 0))
    return torch.where(good, values.clamp(min=0), torch.nan), basis


class Block(Protocol):
    """Measures the curvature of some parameters, and divides by it."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average the scores of walkers with weights (B,), which sum to one over all chunks."""

    def decompose(self, averages: Averages) -> Averages:
        """Prepare averages for divisions."""

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Apply (F + damping)^-1, by what `decompose` returned, to a gradient (F_out, F_in)."""


class KroneckerBlock:
    """A linear layer, by the covariances of its inputs and of its signals."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average over the rows of all walkers.

        Args:
            scores: of the layer.
            weights: of the walkers, shape (B,).

        Returns:
            A, G, and the two factors of v.
        """
        n_rows, root = scores.inputs.shape[1], weights.sqrt()[:, None, None]
        inputs, signals = (scores.inputs * root).flatten(0, 1), (scores.signals * root).flatten(0, 1)  # (B M, F)
        return {
            "inputs": linear(inputs.mT, inputs.mT) / n_rows,
            "signals": linear(signals.mT, signals.mT),
            "input_mean": weights @ scores.inputs.mean(1),
            "signal_mean": weights @ scores.signals.sum(1) / n_rows**0.5,
        }

    def decompose(self, averages: Averages) -> Averages:
        """Decompose both covariances.

        Args:
            averages: what `measure` returned.

        Returns:
            Eigenvalues and eigenvectors, and the means in the basis of these.
        """
        parts: Averages = {}
        for name in ("input", "signal"):
            values, basis = eigh(averages[f"{name}s"])
            parts |= {f"{name}_values": values, f"{name}_basis": basis}
            parts[f"{name}_mean"] = averages[f"{name}_mean"] @ basis
        return parts

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Solve with the damping split as (A + pi sqrt(damping)) (x) (G + sqrt(damping) / pi).

        pi is the square root of the ratio of the mean eigenvalues. The centring term is of rank one.

        Args:
            gradient: shape (F_out, F_in).
            parts: what `decompose` returned.
            damping: split over the factors.

        Returns:
            Shape (F_out, F_in).
        """
        inputs, signals, root = parts["input_values"], parts["signal_values"], damping**0.5
        tiny = torch.finfo(inputs.dtype).tiny
        ratio = (inputs.mean().clamp(min=tiny) / signals.mean().clamp(min=tiny)).sqrt()
        curvature = torch.outer(signals + root / ratio, inputs + ratio * root)  # (F_out, F_in)
        left, right = parts["signal_basis"], parts["input_basis"]
        step = (left.mT @ gradient @ right) / curvature
        mean = torch.outer(parts["signal_mean"], parts["input_mean"])
        rest = 1 - (mean * mean / curvature).sum()  # positive but for rounding
        step = step + mean / curvature * ((mean * step).sum() / rest.clamp(min=torch.finfo(rest.dtype).eps))
        return left @ step @ right.mT


class FullBlock:
    """Few parameters, by the covariance of their scores."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average over walkers.

        Args:
            scores: one row a walker, with a signal of one.
            weights: of the walkers, shape (B,).

        Returns:
            Second moment and mean.
        """
        flat = scores.inputs[:, 0]  # (B, F_in)
        return {"square": (flat * weights[:, None]).mT @ flat, "mean": weights @ flat}

    def decompose(self, averages: Averages) -> Averages:
        """Decompose the covariance.

        Args:
            averages: what `measure` returned.

        Returns:
            Eigenvalues and eigenvectors.
        """
        values, basis = eigh(averages["square"] - torch.outer(averages["mean"], averages["mean"]))
        return {"values": values, "basis": basis}

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Solve with a damped covariance.

        Args:
            gradient: shape (1, F_in).
            parts: what `decompose` returned.
            damping: added to the eigenvalues.

        Returns:
            Shape (1, F_in).
        """
        return (gradient @ parts["basis"] / (parts["values"] + damping)) @ parts["basis"].mT


class DiagonalBlock:
    """Many parameters, by the variance of each score."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average over walkers.

        Args:
            scores: one row a walker, with a signal of one.
            weights: of the walkers, shape (B,).

        Returns:
            Second moments and means.
        """
        flat = scores.inputs[:, 0]  # (B, F_in)
        return {"square": weights @ flat.square(), "mean": weights @ flat}

    def decompose(self, averages: Averages) -> Averages:
        """Form the variances.

        Args:
            averages: what `measure` returned.

        Returns:
            Variances.
        """
        return {"values": (averages["square"] - averages["mean"].square()).clamp(min=0)}

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Divide by damped variances.

        Args:
            gradient: shape (1, F_in).
            parts: what `decompose` returned.
            damping: added to the variances.

        Returns:
            Shape (1, F_in).
        """
        return gradient / (parts["values"] + damping)
