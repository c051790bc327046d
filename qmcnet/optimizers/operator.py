"""The matrix of scores O, of which d log|psi_b| / d theta is a row, acting on vectors without being formed.

Every part of it is that of a linear layer, O_b = sum_m s_bm x_bm^T, kept as inputs x and signals s.

Letters: B walkers, b of them of this process (a complex one counts twice, for log|psi| and for arg psi), P parameters,
M rows of a walker (electrons, pairs), F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from qmcnet.compute.kernels import linear
from qmcnet.compute.team import team
from qmcnet.optimizers.gradient import trained_parameters
from qmcnet.optimizers.kernel import kernel


class Slot(NamedTuple):
    """Where a parameter stands: in the vector of all parameters, and as columns of a layer (F_out, F_in).

    Attributes:
        start: its first number in the vector of all parameters.
        rows: F_out.
        columns: its share of F_in.
    """

    start: int
    rows: int
    columns: int

    def matrix(self, vector: Tensor) -> Tensor:
        """View the parameter in the vector of all parameters.

        Args:
            vector: shape (..., P).

        Returns:
            The parameter, shape (..., F_out, columns).
        """
        stop = self.start + self.rows * self.columns
        return vector[..., self.start : stop].view(*vector.shape[:-1], self.rows, self.columns)


@dataclass(frozen=True)
class LayerScores:
    """Scores of a linear layer; its weight, and its bias if any, are columns of one matrix (F_out, F_in).

    Attributes:
        inputs: shape (B, M, F_in).
        signals: derivative of log|psi| with respect to the output, shape (B, M, F_out).
        slots: the parameters, in the order of their columns in F_in.
    """

    inputs: Tensor
    signals: Tensor
    slots: tuple[Slot, ...]

    def is_smaller_than_scores(self) -> bool:
        """Say whether inputs and signals take less memory than the scores.

        Returns:
            Whether M (F_in + F_out) < F_in F_out.
        """
        n_rows, n_in, n_out = *self.inputs.shape[1:], self.signals.shape[-1]
        return n_rows * (n_in + n_out) < n_in * n_out

    def finite(self) -> Tensor:
        """Say whose scores are finite, and so are their products with those of any other walker.

        Returns:
            Whether |x_b|^2 |s_b|^2 is finite in the precision of the scores, shape (B,).
        """
        return (self.inputs.square().sum((1, 2)) * self.signals.square().sum((1, 2))).isfinite()

    def only(self, walkers: Tensor) -> "LayerScores":
        """Put zero at all other walkers, whatever stands there.

        Args:
            walkers: those that are kept, shape (B,).

        Returns:
            The layer.
        """
        kept = walkers[:, None, None]
        return LayerScores(torch.where(kept, self.inputs, 0), torch.where(kept, self.signals, 0), self.slots)


def without_lost_scores(layers: Sequence[LayerScores]) -> tuple[list[LayerScores], Tensor]:
    """Leave out walkers that have a score that is not finite, as next to a node, where the signals overflow.

    Args:
        layers: of the same walkers.

    Returns:
        The layers with zero at those walkers, and which walkers are left, shape (B,).
    """
    finite = torch.stack([layer.finite() for layer in layers]).all(0)
    return [layer.only(finite) for layer in layers], finite


def split_columns(slots: Sequence[Slot], columns: Tensor) -> list[tuple[Slot, Tensor]]:
    """Divide the columns of a layer among its parameters.

    Args:
        slots: the parameters, in the order of their columns.
        columns: shape (..., F_in).

    Returns:
        Each parameter with its share, shape (..., columns).
    """
    return list(zip(slots, columns.split([slot.columns for slot in slots], -1), strict=True))


class ScoreOperator:
    """Scores O of all walkers as a linear operator, shape (B, P), of which every process keeps those of its own.

    Attributes:
        finite: walkers of this process whose scores are finite, shape (b,); those of the others are taken for zero.
        count: number of all walkers, of which a complex one counts once.
    """

    def __init__(self, layers: Sequence[LayerScores], n_parameters: int, count: int) -> None:
        """Keep the scores of every layer.

        Args:
            layers: of the walkers of this process; every parameter stands in exactly one.
            n_parameters: their number P.
            count: number of all walkers, of which a complex one counts once.
        """
        slots = sorted(slot for layer in layers for slot in layer.slots)
        ends = [slot.start + slot.rows * slot.columns for slot in slots]
        assert [slot.start for slot in slots] + [n_parameters] == [0, *ends], "a parameter without scores"
        (self.layers, self.finite), self.n_parameters = without_lost_scores(layers), n_parameters
        self.dtype = self.layers[0].inputs.dtype
        self.count = count

    def kernel(self) -> Tensor:
        """Multiply the scores of every two walkers: K = O O^T.

        Returns:
            Kernel in float64, shape (B, B).
        """
        return kernel([(layer.inputs, layer.signals) for layer in self.layers], self.count)

    def times(self, vector: Tensor) -> Tensor:
        """Differentiate log|psi| along a direction: O v.

        Args:
            vector: one number per parameter, shape (P,).

        Returns:
            O v in float64, shape (B,).
        """
        total = []
        for layer in self.layers:
            weight = torch.cat([slot.matrix(vector) for slot in layer.slots], -1)  # (F_out, F_in)
            total.append((linear(layer.inputs, weight) * layer.signals).sum((-2, -1), dtype=torch.float64))
        return team().gather([torch.stack(total).sum(0)], self.count)[0]

    def transposed_times(self, weights: Tensor) -> Tensor:
        """Sum the scores of the walkers with weights: O^T w.

        Args:
            weights: one number per walker, in the precision of the scores, shape (B,).

        Returns:
            O^T w, shape (P,).
        """
        own = team().share(weights.unflatten(0, (self.count, -1))).flatten()
        result = weights.new_empty(self.n_parameters)
        for layer in self.layers:
            weighted = (layer.signals * own[:, None, None]).flatten(0, 1)  # (B M, F_out)
            total = linear(weighted.mT, layer.inputs.flatten(0, 1).mT)  # (F_out, F_in)
            for slot, part in split_columns(layer.slots, total):
                slot.matrix(result).copy_(part)
        return team().sum([result])[0]

    def dense(self) -> Tensor:
        """Form the scores of the walkers of this process.

        Returns:
            Rows of O, shape (b, P).
        """
        inputs = self.layers[0].inputs
        result = inputs.new_empty(len(inputs), self.n_parameters)
        for layer in self.layers:
            for slot, part in split_columns(layer.slots, layer.signals.mT @ layer.inputs):
                slot.matrix(result).copy_(part)
        return result


def add_to_parameters(ansatz: nn.Module, change: Tensor) -> None:
    """Add a vector to the parameters in place, so that whoever holds them sees the change.

    Args:
        ansatz: the wavefunction; changed.
        change: one number per trained parameter, shape (P,).
    """
    parameters = list(trained_parameters(ansatz).values())
    for parameter, part in zip(parameters, change.split([p.numel() for p in parameters]), strict=True):
        parameter.add_(part.view_as(parameter))


def joined(chunks: Sequence[Sequence[LayerScores]]) -> list[LayerScores]:
    """Put chunks of walkers together.

    Args:
        chunks: the same layers for different walkers.

    Returns:
        The layers for all walkers.
    """
    if len(chunks) == 1:
        return list(chunks[0])
    layers = []
    for parts in zip(*chunks, strict=True):
        slots = parts[0].slots
        assert all(part.slots == slots for part in parts)
        inputs, signals = torch.cat([part.inputs for part in parts]), torch.cat([part.signals for part in parts])
        layers.append(LayerScores(inputs, signals, slots))
    return layers
