"""Forward-Laplacian rules of softmax, attention and layer normalisation.

For y = softmax(x), with t = J_x - sum(y J_x) and e = L_x + sum_D t^2: J_y = y t and L_y = y (e - sum(y e)).
For u = (x - mean x) r, r = (var x + eps)^(-1/2), with p = mean(u J_x): J_u = r (J_x - mean J_x - u p) and
L_u = r (L_x - mean L_x - u mean(u L_x)) - 2 r sum_D p J_u - u sum_D (mean J_u^2 + r^2 p^2 (1 - mean u^2)).
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.products import matmul
from qmcnet.laplacian.rearrange import transpose


def _feature_dim(x: LapTuple, dim: int) -> tuple[LapTuple, int]:
    axis = x.feature_axis(dim)
    return x if axis > x.support.owner_axes else x.dense(), axis - x.ndim


def _moments(x: LapTuple, dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return y = softmax(x), m = sum(y J_x) and J_x - m with Laplacians treated alike, and s = sum_D (J_x - m)^2."""
    y = torch.softmax(x.value, dim)
    average = (y * x.rows[:-1]).sum(dim, keepdim=True)
    deviation = x.rows[:-1] - average
    return y, average, deviation, deviation[:-1].square().sum(0)


@rule(torch.softmax, torch.Tensor.softmax, F.softmax)
def softmax(x: LapTuple, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> LapTuple:
    """Exponentials over their sum, along one feature axis.

    Args:
        x: tracked tensor.
        dim: axis, not the batch.
        _stacklevel: ignored.
        dtype: precision of the result, which must be that of x.

    Returns:
        The weights with their derivatives.
    """
    _check_dtype(x, dtype)
    x, dim = _feature_dim(x, dim)
    y, _, deviation, squares = _moments(x, dim)
    change = squares - (y * squares).sum(dim, keepdim=True)
    if torch.is_grad_enabled():
        return LapTuple(y, deviation[:-1] * y, (deviation[-1] + change) * y, x.support)
    deviation[-1] += change
    rows = torch.empty_like(x.rows)
    torch.mul(deviation, y, out=rows[:-1])
    rows[-1] = y
    return LapTuple.from_rows(rows, x.support)


@rule(torch.log_softmax, torch.Tensor.log_softmax, F.log_softmax)
def log_softmax(x: LapTuple, dim: int, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> LapTuple:
    """Logarithm of the softmax along one feature axis.

    Args:
        x: tracked tensor.
        dim: axis, not the batch.
        _stacklevel: ignored.
        dtype: precision of the result, which must be that of x.

    Returns:
        The logarithms with their derivatives.
    """
    _check_dtype(x, dtype)
    x, dim = _feature_dim(x, dim)
    y, _, deviation, squares = _moments(x, dim)
    laplacian = deviation[-1] - (y * squares).sum(dim, keepdim=True)
    return LapTuple(torch.log_softmax(x.value, dim), deviation[:-1], laplacian, x.support)


def _check_dtype(x: LapTuple, dtype: torch.dtype | None) -> None:
    if dtype not in (None, x.dtype):
        raise ValueError(f"dtype={dtype} of a tracked softmax must be that of its argument, {x.dtype}")


@rule(torch.logsumexp, torch.Tensor.logsumexp)
def logsumexp(x: LapTuple, dim: int | Sequence[int], keepdim: bool = False) -> LapTuple:
    """Logarithm of the sum of exponentials, along one or more feature axes.

    Args:
        x: tracked tensor.
        dim: axis or axes, not the batch.
        keepdim: keep the reduced axes with length one.

    Returns:
        The logarithm with its derivatives.
    """
    if not isinstance(dim, int):
        for axis in sorted((x.feature_axis(axis) for axis in dim), reverse=True):
            x = logsumexp(x, axis, keepdim)
        return x
    x, dim = _feature_dim(x, dim)
    y, average, _, squares = _moments(x, dim)
    laplacian = average[-1] + (y * squares).sum(dim, keepdim=True)
    result = LapTuple(torch.logsumexp(x.value, dim, keepdim=True), average[:-1], laplacian, x.support)
    return result if keepdim else result.map_linear(lambda tensor: tensor.squeeze(dim))


@rule(torch.logaddexp, torch.Tensor.logaddexp)
def logaddexp(x: Any, y: Any) -> LapTuple:
    """Logarithm of a sum of two exponentials.

    Args:
        x: tracked tensor or tensor.
        y: tracked tensor or tensor.

    Returns:
        log(exp x + exp y) with its derivatives.
    """
    shape = torch.broadcast_shapes(x.shape, y.shape)
    return logsumexp(torch.stack([x.expand(shape), y.expand(shape)], -1), -1)


@rule(F.scaled_dot_product_attention)
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Tensor | LapTuple | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> LapTuple:
    """Attention: softmax(q k^T scale + mask) v.

    Args:
        query: queries, shape (B, ..., n, F).
        key: keys, shape (B, ..., m, F).
        value: values, shape (B, ..., m, G).
        attn_mask: what may be seen (booleans), or a term added to the scores, shape (..., n, m).
        dropout_p: must be zero.
        is_causal: see earlier places alone.
        scale: factor on the scores, by default 1 / sqrt(F).
        enable_gqa: must be false.

    Returns:
        Gathered values with their derivatives, shape (B, ..., n, G).

    Raises:
        ValueError: for dropout, which is random, or grouped queries.
    """
    if dropout_p != 0 or enable_gqa:
        raise ValueError(f"dropout_p={dropout_p} must be 0 and enable_gqa={enable_gqa} false in a tracked attention")
    key = transpose(key, -2, -1) if isinstance(key, LapTuple) else key.mT
    scores: Any = torch.matmul(query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if isinstance(attn_mask, Tensor) and attn_mask.dtype is torch.bool:
        scores = torch.where(attn_mask, scores, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return matmul(torch.softmax(scores, -1), value)


@rule(F.layer_norm)
def layer_norm(
    x: LapTuple,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> LapTuple:
    """Subtract the mean of the last axes, divide by their standard deviation, scale and shift.

    Args:
        x: tracked tensor.
        normalized_shape: lengths of the last axes.
        weight: scale, of the normalised shape.
        bias: shift, of the normalised shape.
        eps: added to the variance.

    Returns:
        The normalised tensor with its derivatives.

    Raises:
        ValueError: if the last axes are not of the normalised shape.
    """
    count = len(normalized_shape)
    if tuple(x.shape[-count:]) != tuple(normalized_shape):
        raise ValueError(f"normalized_shape={tuple(normalized_shape)} must end the shape {tuple(x.shape)}")
    flat: LapTuple = x.flatten(-count) if count > 1 else _feature_dim(x, -1)[0]
    result: LapTuple = (_normalize_recorded if torch.is_grad_enabled() else _normalize)(flat, eps)
    if weight is not None:
        scale = weight.flatten()
        result = result.map_linear(lambda rows: rows * scale if torch.is_grad_enabled() else rows.mul_(scale))
    if bias is not None:
        result.rows[-1] += bias.flatten()
    return result.unflatten(-1, normalized_shape) if count > 1 else result


def _normalize_recorded(x: LapTuple, eps: float) -> LapTuple:
    """Do what `_normalize` does without writing over anything."""
    spread, mean = torch.var_mean(x.value, -1, correction=0, keepdim=True)
    r = torch.rsqrt(spread + eps)
    u, change = (x.value - mean) * r, x.rows[:-1]
    slope = (change * u).mean(-1, keepdim=True)
    moved = (change - change.mean(-1, keepdim=True) - slope * u) * r
    jacobian, slope = moved[:-1], slope[:-1]
    squares = jacobian.square().sum(0).mean(-1, keepdim=True)
    rest = slope.square().sum(0) * r.square() * (1 - u.square().mean(-1, keepdim=True))
    bend = 2 * r * (jacobian * slope).sum(0) + u * (squares + rest)
    return LapTuple(u, jacobian, moved[-1] - bend, x.support)


def _normalize(x: LapTuple, eps: float) -> LapTuple:
    spread, mean = torch.var_mean(x.value, -1, correction=0, keepdim=True)
    r = torch.rsqrt(spread + eps)
    u = (x.value - mean) * r
    rows, change = torch.empty_like(x.rows), x.rows[:-1]
    slope = torch.mul(change, u, out=rows[:-1]).mean(-1, keepdim=True)  # p, and mean u L in its last row
    torch.sub(change, change.mean(-1, keepdim=True), out=rows[:-1])
    rows[:-1].addcmul_(slope, u, value=-1).mul_(r)
    jacobian, slope = rows[:-2], slope[:-1]
    squares = jacobian.square().sum(0).mean(-1, keepdim=True)
    rest = slope.square().sum(0) * r.square() * (1 - u.square().mean(-1, keepdim=True))
    rows[-2] -= 2 * r * (jacobian * slope).sum(0) + u * (squares + rest)
    rows[-1] = u
    return LapTuple.from_rows(rows, x.support)
