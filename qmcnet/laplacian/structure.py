"""Forward-Laplacian rules of operations that sum, select or rearrange entries."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.supports import (
    Kind,
    Support,
    dense_support,
    electron_support,
    pair_support,
    sum_over_owner,
    sum_over_partner,
)


def track(positions: Tensor) -> LapTuple:
    """Start tracking: the positions as functions of themselves.

    Args:
        positions: electron positions, shape (B, N, 3), in bohr.

    Returns:
        The positions with unit jacobian and zero Laplacian.
    """
    axes = torch.eye(3, dtype=positions.dtype, device=positions.device)
    jacobian = axes[:, None, None, :].expand(3, *positions.shape)
    tracked = LapTuple(positions, jacobian, torch.zeros_like(positions), electron_support(positions.shape[1]))
    tracked.untouched = True
    return tracked


def pair_differences(positions: Tensor | LapTuple) -> Any:
    """Vectors between all pairs of electrons, r_i - r_j.

    Args:
        positions: electron positions, shape (..., N, 3), in bohr, or what was made of them.

    Returns:
        Differences, shape (..., N, N, 3), in bohr; with PAIR support of the positions as they come from `track`.
    """
    if not (isinstance(positions, LapTuple) and positions.untouched):
        other: Any = positions
        return other[..., :, None, :] - other[..., None, :, :]
    value = positions.value
    difference = value[:, :, None] - value[:, None]
    n_electrons = value.shape[1]
    axes = torch.eye(3, dtype=value.dtype, device=value.device)
    # On i = j both ends are the same electron: the difference is the constant zero.
    apart = 1 - torch.eye(n_electrons, dtype=value.dtype, device=value.device)
    jacobian = (apart[:, :, None] * axes[:, None, None, :])[:, None].expand(3, *difference.shape)
    return LapTuple(difference, jacobian, torch.zeros_like(difference), pair_support(n_electrons))


def _sum_axis(x: LapTuple, axis: int, keepdim: bool) -> LapTuple:
    position = axis % x.ndim
    if position > x.support.owner_axes:
        return x.map_linear(lambda rows: kernels.summation(rows, axis, keepdim))
    if x.support.kind is Kind.ELECTRON:
        rows = sum_over_owner(x.rows, x.support)
    elif position == 2:
        rows = sum_over_partner(x.rows, x.support)
    else:
        return _sum_axis(x.dense(), axis, keepdim)
    return LapTuple.from_rows(rows.unsqueeze(axis) if keepdim else rows, dense_support(x.support.n_electrons))


def _axes(x: LapTuple, dim: int | Sequence[int] | None) -> Sequence[int]:
    if isinstance(dim, int):
        return [dim]
    return dim or range(x.ndim)  # torch takes no axes for all of them, too


@rule(torch.sum, torch.Tensor.sum)
def summation(x: LapTuple, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> LapTuple:
    """Sum over one or more axes; over electrons or partners the result becomes DENSE.

    Args:
        x: tracked tensor.
        dim: axis or axes, not the batch.
        keepdim: keep the reduced axes with length one.

    Returns:
        The sum with its derivatives.
    """
    # From the last axis: partners are summed before their owners, and earlier axes keep their numbers.
    for axis in sorted((x.feature_axis(axis) for axis in _axes(x, dim)), reverse=True):
        x = _sum_axis(x, axis - x.ndim, keepdim)
    return x


@rule(torch.mean, torch.Tensor.mean)
def mean(x: LapTuple, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> LapTuple:
    """Average over one or more axes.

    Args:
        x: tracked tensor.
        dim: axis or axes, not the batch.
        keepdim: keep the reduced axes with length one.

    Returns:
        The mean with its derivatives.
    """
    total = summation(x, dim, keepdim)
    return total * (1 / math.prod(x.shape[axis] for axis in _axes(x, dim)))


def _full_index(index: Any, ndim: int) -> list[Any]:
    items = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis not in items:
        items.append(Ellipsis)
    used = sum(item is not None and item is not Ellipsis for item in items)
    where = items.index(Ellipsis)
    return items[:where] + [slice(None)] * (ndim - used) + items[where + 1 :]


@rule(torch.Tensor.__getitem__, view=True)
def getitem(x: LapTuple, index: Any) -> LapTuple:
    """Select with slices, integers and None; electron axes keep their support only under slices of step one.

    Args:
        x: tracked tensor.
        index: index of the value; the batch axis must be taken whole.

    Returns:
        The selected entries with their derivatives.

    Raises:
        ValueError: if the index touches the batch axis, or makes torch move it.
    """
    items = _full_index(index, x.ndim)
    if items[0] != slice(None):
        raise ValueError(f"the batch axis of a tracked tensor must be taken whole, got index {index!r}")
    lists = [axis for axis, item in enumerate(items) if isinstance(item, Tensor | list)]
    if lists and lists[-1] - lists[0] >= len(lists):
        raise ValueError(
            "index tensors with axes between them put their axis before the batch axis: index in two steps"
        )
    support, owners = x.support, x.support.owner_axes
    kept = items[1 : 1 + owners]
    if not all(isinstance(item, slice) and item.step in (None, 1) for item in kept):
        return getitem(x.dense(), index)
    if owners:
        starts = [item.indices(size)[0] for item, size in zip(kept, x.shape[1:], strict=False)]
        first = tuple(old + start for old, start in zip(support.first, starts, strict=True))
        support = Support(support.kind, support.n_electrons, first)
    return LapTuple.from_rows(x.rows[slice(None), *items], support)


@rule(torch.cat, torch.concat)
def cat(tensors: Sequence[LapTuple | Tensor], dim: int = 0) -> LapTuple:
    """Concatenate along a feature axis, or along electrons (which makes the result DENSE).

    Args:
        tensors: tracked tensors and constants of matching shapes.
        dim: axis, not the batch.

    Returns:
        The concatenation with its derivatives.
    """
    tracked = [tensor for tensor in tensors if isinstance(tensor, LapTuple)]
    position = tracked[0].feature_axis(dim)
    axis = position - tracked[0].ndim
    supports = {tensor.support for tensor in tracked}
    if len(supports) > 1 or position <= tracked[0].support.owner_axes:
        tracked = [tensor.dense() for tensor in tracked]
    like = tracked[0]
    queue = iter(tracked)
    parts = [next(queue) if isinstance(tensor, LapTuple) else constant(tensor, like) for tensor in tensors]
    return LapTuple.from_rows(torch.cat([part.rows for part in parts], axis), like.support)


def constant(tensor: Tensor, like: LapTuple) -> LapTuple:
    """Wrap a tensor that depends on no electron.

    Args:
        tensor: shape (B, ...).
        like: tracked tensor whose support to take.

    Returns:
        The tensor with zero derivatives.
    """
    rows = tensor.new_zeros((len(like.rows), *tensor.shape))
    rows[-1] = tensor
    return LapTuple.from_rows(rows, like.support)


@rule(torch.clone, torch.Tensor.clone)
def clone(x: LapTuple) -> LapTuple:
    """Copy, so that writing into the copy changes nothing else.

    Args:
        x: tracked tensor.

    Returns:
        The same quantity.
    """
    return x.map_linear(torch.clone)


@rule(torch.unflatten, torch.Tensor.unflatten, view=True)
def unflatten(x: LapTuple, dim: int, sizes: Sequence[int]) -> LapTuple:
    """Split one feature axis into several.

    Args:
        x: tracked tensor.
        dim: axis to split.
        sizes: lengths of the new axes.

    Returns:
        The reshaped tensor with its derivatives.
    """
    position = x.feature_axis(dim)
    x = x if position > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.unflatten(position - x.ndim, sizes))


@rule(torch.flatten, torch.Tensor.flatten, view=True)
def flatten(x: LapTuple, start_dim: int = 0, end_dim: int = -1) -> LapTuple:
    """Merge neighbouring axes.

    Args:
        x: tracked tensor.
        start_dim: first axis to merge, not the batch.
        end_dim: last axis to merge.

    Returns:
        The reshaped tensor with its derivatives.
    """
    start, end = x.feature_axis(start_dim), x.feature_axis(end_dim)
    x = x if start > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.flatten(start - x.ndim, end - x.ndim))


@rule(torch.movedim, torch.Tensor.movedim, view=True)
def movedim(x: LapTuple, source: int, destination: int) -> LapTuple:
    """Move one axis, not the batch, to another place.

    Args:
        x: tracked tensor.
        source: axis to move.
        destination: where it goes, not the batch.

    Returns:
        The rearranged tensor with its derivatives.
    """
    start, end = x.feature_axis(source), x.feature_axis(destination)
    x = x if min(start, end) > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.movedim(start - x.ndim, end - x.ndim))


@rule(torch.unsqueeze, torch.Tensor.unsqueeze, view=True)
def unsqueeze(x: LapTuple, dim: int) -> LapTuple:
    """Insert an axis of length one.

    Args:
        x: tracked tensor.
        dim: where the new axis goes, not before the batch.

    Returns:
        The reshaped tensor with its derivatives.
    """
    position = x.feature_axis(dim, new=1)
    x = x if position > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.unsqueeze(position - x.ndim - 1))


@rule(torch.squeeze, torch.Tensor.squeeze, view=True)
def squeeze(x: LapTuple, dim: int) -> LapTuple:
    """Drop an axis of length one.

    Args:
        x: tracked tensor.
        dim: axis to drop, not the batch.

    Returns:
        The reshaped tensor with its derivatives.
    """
    position = x.feature_axis(dim)
    x = x if position > x.support.owner_axes else x.dense()
    return x.map_linear(lambda tensor: tensor.squeeze(position - x.ndim))
