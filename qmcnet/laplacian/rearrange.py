"""Forward-Laplacian rules that move, cut, join, broadcast and mask entries.

Of the transposed views the methods and functions are tracked, not the properties: write `x.transpose(-2, -1)`
for `x.mT`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from qmcnet.laplacian import arithmetic
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.structure import cat, getitem


@rule(torch.transpose, torch.Tensor.transpose, torch.swapaxes, torch.Tensor.swapaxes, view=True)
@rule(torch.swapdims, torch.Tensor.swapdims, view=True)
def transpose(x: LapTuple, dim0: int, dim1: int) -> LapTuple:
    """Exchange two axes.

    Args:
        x: tracked tensor.
        dim0: one axis, not the batch.
        dim1: the other axis, not the batch.

    Returns:
        The rearranged tensor with its derivatives.
    """
    first, second = x.feature_axis(dim0), x.feature_axis(dim1)
    x = x if min(first, second) > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.transpose(first - x.ndim, second - x.ndim))


@rule(torch.permute, torch.Tensor.permute, view=True)
def permute(x: LapTuple, *dims: Any) -> LapTuple:
    """Put the axes in another order.

    Args:
        x: tracked tensor.
        *dims: the axes in their new order, the batch first; numbers or one sequence of them.

    Returns:
        The rearranged tensor with its derivatives.

    Raises:
        ValueError: if the batch axis does not stay first.
    """
    order = [dim % x.ndim for dim in _numbers(dims)]
    if order[:1] != [0]:
        raise ValueError(f"dims={order} moves the batch axis of a tracked tensor, which must stay first")
    owners = x.support.owner_axes
    x = x if order[: 1 + owners] == list(range(1 + owners)) else x.dense()
    return x.map_linear(lambda tensor: tensor.permute(*range(tensor.ndim - x.ndim), *(dim - x.ndim for dim in order)))


@rule(torch.reshape, torch.Tensor.reshape, torch.Tensor.view, view=True)
def reshape(x: LapTuple, *shape: Any) -> LapTuple:
    """Reshape the feature axes.

    Args:
        x: tracked tensor.
        *shape: the new shape, the batch first, with at most one -1; numbers or one sequence of them.

    Returns:
        The reshaped tensor with its derivatives.

    Raises:
        ValueError: if the batch axis does not stay as it is.
    """
    value = x.value.reshape(_numbers(shape))
    if value.shape[:1] != x.shape[:1]:
        raise ValueError(
            f"shape={tuple(value.shape)} mixes the batch axis of a tracked tensor of shape {tuple(x.shape)}: "
            f"the first axis must stay {x.shape[0]} long"
        )
    owners = x.support.owner_axes
    x = x if value.shape[: 1 + owners] == x.shape[: 1 + owners] else x.dense()
    return x.map_linear(lambda tensor: tensor.reshape(*tensor.shape[: tensor.ndim - x.ndim], *value.shape))


@rule(torch.Tensor.expand, torch.broadcast_to, torch.Tensor.broadcast_to, view=True)
def expand(x: LapTuple, *shape: Any) -> LapTuple:
    """Broadcast axes of length one.

    Args:
        x: tracked tensor.
        *shape: the new shape, of the same rank, with -1 for what stays; numbers or one sequence of them.

    Returns:
        The broadcast tensor with its derivatives.

    Raises:
        ValueError: if the batch axis would be broadcast.
    """
    sizes = _numbers(shape)
    if len(sizes) == x.ndim and sizes[0] not in (-1, x.shape[0]):
        raise ValueError(f"the batch axis of a tracked tensor cannot be expanded from {x.shape[0]} to {sizes[0]}")
    return arithmetic.expand(x, x.value.expand(sizes).shape)


def _numbers(arguments: Sequence[Any]) -> list[int]:
    return list(arguments[0]) if len(arguments) == 1 and not isinstance(arguments[0], int) else list(arguments)


@rule(torch.Tensor.size)
def size(x: LapTuple, dim: int | None = None) -> Any:
    """Return the shape or the length of one axis.

    Args:
        x: tracked tensor.
        dim: axis, or None for all.

    Returns:
        The shape or one length.
    """
    return x.shape if dim is None else x.shape[dim]


@rule(torch.Tensor.contiguous, view=True)
def contiguous(x: LapTuple) -> LapTuple:
    """Lay the entries out in order.

    Args:
        x: tracked tensor.

    Returns:
        The same quantity.
    """
    return x.map_linear(Tensor.contiguous)


@rule(torch.index_select, torch.Tensor.index_select)
def index_select(x: LapTuple, dim: int, index: Tensor) -> LapTuple:
    """Gather entries along one axis.

    Args:
        x: tracked tensor.
        dim: axis, not the batch.
        index: numbers of the entries, shape (n,).

    Returns:
        The entries with their derivatives.
    """
    axis = x.feature_axis(dim)
    x = x if axis > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.index_select(axis - x.ndim, index))


@rule(torch.split, torch.Tensor.split, view=True)
def split(x: LapTuple, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[LapTuple, ...]:
    """Cut an axis into pieces of given lengths.

    Args:
        x: tracked tensor.
        split_size_or_sections: length of every piece, or of each.
        dim: axis to cut, not the batch.

    Returns:
        The pieces with their derivatives.
    """
    return _cut(x, x.feature_axis(dim), x.value.split(split_size_or_sections, dim))


@rule(torch.chunk, torch.Tensor.chunk, view=True)
def chunk(x: LapTuple, chunks: int, dim: int = 0) -> tuple[LapTuple, ...]:
    """Cut an axis into a number of pieces.

    Args:
        x: tracked tensor.
        chunks: number of pieces.
        dim: axis to cut, not the batch.

    Returns:
        The pieces with their derivatives.
    """
    return _cut(x, x.feature_axis(dim), x.value.chunk(chunks, dim))


def _cut(x: LapTuple, axis: int, values: Sequence[Tensor]) -> tuple[LapTuple, ...]:
    pieces, start = [], 0
    for value in values:
        stop = start + value.shape[axis]
        pieces.append(getitem(x, (slice(None),) * axis + (slice(start, stop),)))
        start = stop
    return tuple(pieces)


@rule(torch.unbind, torch.Tensor.unbind, view=True)
def unbind(x: LapTuple, dim: int = 0) -> tuple[LapTuple, ...]:
    """Take the entries along an axis apart.

    Args:
        x: tracked tensor.
        dim: axis to remove, not the batch.

    Returns:
        One tensor for each index of the axis, with its derivatives.
    """
    axis = x.feature_axis(dim)
    x = x if axis > x.support.owner_axes else x.dense()
    return tuple(getitem(x, (slice(None),) * axis + (index,)) for index in range(x.shape[axis]))


@rule(torch.stack)
def stack(tensors: Sequence[LapTuple | Tensor], dim: int = 0) -> LapTuple:
    """Join tensors of one shape along a new axis.

    Args:
        tensors: tracked tensors and constants.
        dim: where the new axis goes, not before the batch.

    Returns:
        The joined tensor with its derivatives.
    """
    axis = next(tensor for tensor in tensors if isinstance(tensor, LapTuple)).feature_axis(dim, new=1)
    return cat([tensor.unsqueeze(axis) for tensor in tensors], axis)


@rule(torch.where)
def where(condition: Tensor, input: Any, other: Any) -> LapTuple:
    """Choose entries of two operands by a constant mask.

    Args:
        condition: booleans.
        input: tracked tensor, tensor or number, taken where the mask is true.
        other: tracked tensor, tensor or number, taken where the mask is false.

    Returns:
        The chosen entries with their derivatives.

    Raises:
        NotImplementedError: if the mask is tracked.
    """
    if isinstance(condition, LapTuple):
        raise NotImplementedError("where is tracked for masks that do not depend on the electrons")
    like = input if isinstance(input, LapTuple) else other
    return arithmetic.add(_masked(input, condition, like), _masked(other, condition.logical_not(), like))


@rule(torch.Tensor.where)
def where_method(x: LapTuple, condition: Tensor, other: Any) -> LapTuple:
    """Choose entries of two operands by a constant mask.

    Args:
        x: tracked tensor, tensor or number, taken where the mask is true.
        condition: booleans.
        other: tracked tensor, tensor or number, taken where the mask is false.

    Returns:
        The chosen entries with their derivatives.
    """
    return where(condition, x, other)


@rule(torch.masked_fill, torch.Tensor.masked_fill)
def masked_fill(x: LapTuple, mask: Tensor, value: float | Tensor) -> LapTuple:
    """Put a constant where a constant mask is true.

    Args:
        x: tracked tensor.
        mask: booleans.
        value: the constant.

    Returns:
        The filled tensor with its derivatives.
    """
    return where(mask, value, x)


def _masked(x: Any, mask: Tensor, like: LapTuple) -> Any:
    # Choosing instead of multiplying keeps infinities and NaN of the entries left out away.
    if not isinstance(x, LapTuple):
        x = x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=like.dtype, device=like.device)
        return torch.where(mask, x, 0)
    wide = arithmetic.expand(x, torch.broadcast_shapes(x.shape, mask.shape))
    return wide.map_linear(lambda tensor: torch.where(mask, tensor, 0))


def _register_constant(function: Callable[..., Tensor]) -> None:
    @rule(function)
    def apply(x: LapTuple, *args: Any, **kwargs: Any) -> Tensor:
        """Rearrange value, jacobian and Laplacian alike."""
        return function(x.value, *args, **kwargs)


for _function in (torch.zeros_like, torch.ones_like, torch.full_like, torch.Tensor.new_zeros, torch.Tensor.new_ones):
    _register_constant(_function)
