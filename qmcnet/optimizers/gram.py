"""Kernels of linear layers: products of all scores of two walkers, without forming the scores.

The score of a linear layer is sum_m s_bm x_bm^T, so that two walkers meet in sum_mm' (s_bm . s_b'm') (x_bm . x_b'm').
Kernels are symmetric: a half of one is any matrix h with K = h + h^T, to which all layers add before it is transposed.

Letters: B walkers, M rows of a walker (electrons, pairs), F features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from qmcnet.compute.device import sizes
from qmcnet.compute.kernels import linear

BLOCKS = 4
"""Least number of blocks that walkers meet in: with one, all products would be formed, not half of them."""


def add_layer(half: Tensor, inputs: Tensor, signals: Tensor) -> None:
    """Add the kernel of a layer, by whichever way multiplies less: row by row, or through the scores.

    Args:
        half: half of a kernel in float64, shape (B, B), to be added to.
        inputs: shape (B, M, F_in).
        signals: derivative of log|psi| with respect to the output, shape (B, M, F_out).
    """
    if inputs.shape[1] == 1:
        add_folded(half, [inputs.transpose(0, 1), signals.transpose(0, 1)])
    else:
        (add_rows if row_by_row(inputs, signals) else add_scores)(half, inputs, signals)


def row_by_row(inputs: Tensor, signals: Tensor) -> bool:
    """Tell which way multiplies less.

    Args:
        inputs: shape (B, M, F_in).
        signals: shape (B, M, F_out).

    Returns:
        Whether it is row by row.
    """
    n_walkers, n_rows, n_in = inputs.shape
    n_out = signals.shape[-1]
    # Row by row, multiplying the products of inputs and signals and adding them up takes as long as forming them.
    return 2 * n_rows**2 * n_walkers * (n_in + n_out) <= (n_walkers + 2 * n_rows) * n_in * n_out


def layer_cross(inputs: Tensor, signals: Tensor, other_inputs: Tensor, other_signals: Tensor) -> Tensor:
    """Kernel of a layer between some walkers and others.

    Args:
        inputs: shape (B, M, F_in).
        signals: shape (B, M, F_out).
        other_inputs: shape (B', M, F_in).
        other_signals: shape (B', M, F_out).

    Returns:
        Kernel in float64, shape (B, B').
    """
    if not len(inputs) or not len(other_inputs):
        return inputs.new_zeros(len(inputs), len(other_inputs), dtype=torch.float64)
    if inputs.shape[1] == 1:
        return folded_cross([inputs, signals], [other_inputs, other_signals])
    if not row_by_row(inputs, signals):
        kernel = inputs.new_zeros(len(inputs), len(other_inputs), dtype=torch.float64)
        size = max(1, sizes(signals.device).piece // inputs.shape[-1])
        for part, other in zip(signals.split(size, -1), other_signals.split(size, -1), strict=True):
            kernel += linear((part.mT @ inputs).flatten(1), (other.mT @ other_inputs).flatten(1))
        return kernel
    mean = (inputs.mean((0, 1)) + other_inputs.mean((0, 1))) / 2  # see `add_rows`: any vector would do
    sides = [(inputs - mean, signals, signals.sum(1)), (other_inputs - mean, other_signals, other_signals.sum(1))]
    weighted = [((rest @ mean + mean @ mean / 2)[..., None] * signal).sum(1) for rest, signal, _ in sides]
    cross = linear(weighted[0], sides[1][2]).double() + linear(sides[0][2], weighted[1]).double()
    return folded_cross(sides[0][:2], sides[1][:2]) + cross


def folded_cross(factors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Sum over m and m' of the product over factors of x_bm . x_b'm'.

    Args:
        factors: each (B, M, F).
        others: each (B', M, F).

    Returns:
        Kernel in float64, shape (B, B').
    """
    (n_walkers, n_rows, _), n_others = factors[0].shape, len(others[0])
    kernel = factors[0].new_zeros(n_walkers, n_others, dtype=torch.float64)
    rows, columns = ([side.transpose(0, 1).flatten(0, 1) for side in sides] for sides in (factors, others))  # (M B, F)
    size = max(1, sizes(kernel.device).block // (n_rows * n_others * n_walkers)) * n_walkers  # whole sets of walkers
    for start in range(0, n_rows * n_walkers, size):
        product = linear(rows[0][start : start + size], columns[0])
        for row, column in zip(rows[1:], columns[1:], strict=True):
            product *= linear(row[start : start + size], column)
        kernel += product.view(-1, n_walkers, n_rows, n_others).sum((0, 2))
    return kernel


def add_rows(half: Tensor, inputs: Tensor, signals: Tensor) -> None:
    """Add the kernel of a layer row by row.

    The signals of a walker nearly cancel in sum_m s_bm, and so would the products of their rows with inputs that have
    a mean in common. With u_b = sum_m s_bm, the mean c of the inputs and y = x - c,
    K = sum_mm' (s_bm . s_b'm') (y_bm . y_b'm') + t_b . u_b' + u_b . t_b',
    t_b = sum_m (c . y_bm) s_bm + |c|^2 u_b / 2.

    Args:
        half: half of a kernel in float64, shape (B, B), to be added to.
        inputs: shape (B, M, F_in).
        signals: shape (B, M, F_out).
    """
    mean = inputs.mean((0, 1))  # (F_in)
    rest = inputs - mean
    weights = rest @ mean + mean @ mean / 2  # (B, M)
    half += linear((weights[..., None] * signals).sum(1), signals.sum(1))
    add_folded(half, [rest.transpose(0, 1), signals.transpose(0, 1)])


def add_scores(half: Tensor, inputs: Tensor, signals: Tensor) -> None:
    """Add the kernel of a layer through its scores, a few output features at once, which bounds the memory.

    Args:
        half: half of a kernel in float64, shape (B, B), to be added to.
        inputs: shape (B, M, F_in).
        signals: shape (B, M, F_out).
    """
    for part in signals.split(max(1, sizes(signals.device).piece // inputs.shape[-1]), -1):
        scores = part.mT @ inputs  # (B, part of F_out, F_in)
        add_folded(half, [scores.flatten(1)[None]])


def add_folded(half: Tensor, factors: Sequence[Tensor]) -> None:
    """Add the sum over m and m' of the product over factors of x_mb . x_m'b'.

    Rows are ordered by m, then by walker, and a block of them meets itself and the rows before it alone.

    Args:
        half: half of a kernel in float64, shape (B, B), to be added to.
        factors: each (M, B, F).
    """
    n_rows, n_walkers, _ = factors[0].shape
    rows = [factor.flatten(0, 1) for factor in factors]  # (M B, F)
    size = max(32, min(sizes(half.device).block // (n_rows * n_walkers), -(-n_walkers // BLOCKS)))
    for before in range(0, n_rows * n_walkers, n_walkers):
        for start in range(0, n_walkers, size):
            stop = min(start + size, n_walkers)
            block = slice(before + start, before + stop)
            product = linear(rows[0][block], rows[0][: block.stop])
            for factor in rows[1:]:
                product *= linear(factor[block], factor[: block.stop])
            product[:, block] *= 0.5
            half[start:stop, :stop] += product[:, before:]
            if before:
                half[start:stop] += product[:, :before].unflatten(1, (before // n_walkers, n_walkers)).sum(1)
