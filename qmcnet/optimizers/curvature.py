"""Blocks of an approximate Fisher matrix F = sum_g <(O_g - <O_g>)(O_g - <O_g>)^T> of the scores of G functions.

O = d log|psi| / d theta of a real wavefunction; a complex one adds d arg psi / d theta.

A linear layer has O_b = sum_m s_bm x_bm^T with inputs x and signals s of its rows m (electrons, pairs). Taking rows as
independent of one another, and inputs of signals, F = A (x) G - v v^T with A = <x x^T>, G = M <s s^T> and
v = <x> (x) sqrt(M) <s>, where G and v v^T are sums over the functions. Without the last term, which centres the scores,
this is the block of repeated dense layers of the reference.

References:
    Martens, Grosse, ICML 2015, arXiv:1503.05671 (Kronecker factors and their damping);
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429
    (layers repeated over electrons).

Letters: B walkers, G functions of a walker, M rows of a walker, F features.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from qmcnet.compute.kernels import linear
from qmcnet.optimizers.operator import LayerScores
from qmcnet.optimizers.spectra import shared_eigh

Averages = dict[str, Tensor]
"""Averages over walkers, or what was computed from them, by name."""


Spectra = dict[str, tuple[Tensor, Tensor]]
"""Eigenvalues (n,), none negative, and eigenvectors (n, n) of matrices, by name."""


def decompose(blocks: Mapping[int, "Block"], averages: Mapping[int, Averages]) -> dict[int, Averages]:
    """Prepare the averages of all blocks for divisions.

    Args:
        blocks: by number.
        averages: what their `measure` returned.

    Returns:
        What their `divide` takes.
    """
    matrices = {(k, name): m for k, block in blocks.items() for name, m in block.matrices(averages[k]).items()}
    spectra: dict[int, Spectra] = {k: {} for k in blocks}
    for (k, name), pair in zip(matrices, shared_eigh(list(matrices.values())), strict=True):
        spectra[k][name] = pair
    return {k: block.prepare(averages[k], spectra[k]) for k, block in blocks.items()}


def function_means(weights: Tensor, values: Tensor) -> Tensor:
    """Average each function over walkers.

    Args:
        weights: of the walkers, shape (B,).
        values: shape (B G, F).

    Returns:
        Means, shape (G, F).
    """
    return (weights @ values.reshape(len(weights), -1)).view(-1, values.shape[-1])


class Block(Protocol):
    """Measures the curvature of some parameters, and divides by it."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average the scores of walkers with weights (B,), which sum to one over all chunks."""

    def matrices(self, averages: Averages) -> Averages:
        """Name the symmetric matrices whose spectra a division needs."""

    def prepare(self, averages: Averages, spectra: Spectra) -> Averages:
        """Prepare averages for divisions, with the spectra of `matrices`."""

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Apply (F + damping)^-1, by what `prepare` returned, to a gradient (F_out, F_in)."""


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
        n_rows, n_functions = scores.inputs.shape[1], len(scores.inputs) // len(weights)
        root, inputs = weights.sqrt()[:, None, None], scores.inputs[::n_functions]  # the same for every function
        signals = scores.signals * root.repeat_interleave(n_functions, 0)
        rows, columns = (inputs * root).flatten(0, 1), signals.flatten(0, 1)  # (B M, F_in), (B G M, F_out)
        return {
            "inputs": linear(rows.mT, rows.mT) / n_rows,
            "signals": linear(columns.mT, columns.mT),
            "input_mean": weights @ inputs.mean(1),
            "signal_mean": function_means(weights, scores.signals.sum(1)) / n_rows**0.5,
        }

    def matrices(self, averages: Averages) -> Averages:
        """Name the matrices to decompose.

        Args:
            averages: what `measure` returned.

        Returns:
            Both covariances.
        """
        return {"input": averages["inputs"], "signal": averages["signals"]}

    def prepare(self, averages: Averages, spectra: Spectra) -> Averages:
        """Collect both spectra.

        Args:
            averages: what `measure` returned.
            spectra: of what `matrices` returned.

        Returns:
            Eigenvalues and eigenvectors, and the means in the basis of these.
        """
        parts: Averages = {}
        for name, (values, basis) in spectra.items():
            parts |= {f"{name}_values": values, f"{name}_basis": basis}
        parts["input_mean"] = averages["input_mean"] @ parts["input_basis"]
        parts["signal_mean"] = torch.stack([mean @ parts["signal_basis"] for mean in averages["signal_mean"]])
        return parts

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Solve with the damping split as (A + pi sqrt(damping)) (x) (G + sqrt(damping) / pi).

        pi is the square root of the ratio of the mean eigenvalues. The centring terms, of rank one for each function,
        are taken into account one after the other.

        Args:
            gradient: shape (F_out, F_in).
            parts: what `prepare` returned.
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
        means = [torch.outer(mean, parts["input_mean"]) for mean in parts["signal_mean"]]
        solved = [step, *(mean / curvature for mean in means)]
        for mean in means:
            column = solved.pop(1)
            rest = (1 - (mean * column).sum()).clamp(min=torch.finfo(column.dtype).eps)  # positive but for rounding
            solved = [vector + column * ((mean * vector).sum() / rest) for vector in solved]
        return left @ solved[0] @ right.mT


class FullBlock:
    """Few parameters, by the covariance of their scores."""

    def measure(self, scores: LayerScores, weights: Tensor) -> Averages:
        """Average over walkers.

        Args:
            scores: one row a walker, with a signal of one.
            weights: of the walkers, shape (B,).

        Returns:
            Second moment and means.
        """
        flat = scores.inputs[:, 0]  # (B G, F_in)
        repeated = weights.repeat_interleave(len(flat) // len(weights))
        return {"square": (flat * repeated[:, None]).mT @ flat, "mean": function_means(weights, flat)}

    def matrices(self, averages: Averages) -> Averages:
        """Name the matrices to decompose.

        Args:
            averages: what `measure` returned.

        Returns:
            The covariance.
        """
        return {"": averages["square"] - averages["mean"].mT @ averages["mean"]}

    def prepare(self, averages: Averages, spectra: Spectra) -> Averages:
        """Take the spectrum apart.

        Args:
            averages: what `measure` returned.
            spectra: of what `matrices` returned.

        Returns:
            Eigenvalues and eigenvectors.
        """
        values, basis = spectra[""]
        return {"values": values, "basis": basis}

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Solve with a damped covariance.

        Args:
            gradient: shape (1, F_in).
            parts: what `prepare` returned.
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
        flat = scores.inputs[:, 0]  # (B G, F_in)
        squares = function_means(weights, flat.square()).sum(0)
        return {"square": squares, "mean": function_means(weights, flat)}

    def matrices(self, averages: Averages) -> Averages:
        """Name the matrices to decompose.

        Args:
            averages: what `measure` returned.

        Returns:
            Nothing.
        """
        return {}

    def prepare(self, averages: Averages, spectra: Spectra) -> Averages:
        """Form the variances.

        Args:
            averages: what `measure` returned.
            spectra: of what `matrices` returned.

        Returns:
            Variances.
        """
        return {"values": (averages["square"] - averages["mean"].square().sum(0)).clamp(min=0)}

    def divide(self, gradient: Tensor, parts: Averages, damping: float) -> Tensor:
        """Divide by damped variances.

        Args:
            gradient: shape (1, F_in).
            parts: what `prepare` returned.
            damping: added to the variances.

        Returns:
            Shape (1, F_in).
        """
        return gradient / (parts["values"] + damping)
