"""Forward-Laplacian rules of sums and products, entry by entry, and of the norm of a vector."""

from typing import Any

import torch
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.supports import Kind, accumulate, own_slots, scatter

Operand = Any
"""A LapTuple, a tensor or a number."""


def expand(x: LapTuple, shape: torch.Size) -> LapTuple:
    """Broadcast a tracked tensor to a larger shape of the same rank.

    Args:
        x: tracked tensor, shape (B, ...).
        shape: shape to broadcast to.

    Returns:
        The broadcast tensor, without copying.

    Raises:
        ValueError: if the rank changes, which would move the electron axes.
    """
    if x.shape == shape:
        return x
    if x.ndim != len(shape):
        raise ValueError(
            f"a tracked tensor of shape {tuple(x.shape)} cannot be broadcast to {tuple(shape)}: ranks differ"
        )
    owners = x.support.owner_axes
    if x.shape[1 : 1 + owners] != shape[1 : 1 + owners]:
        x = x.dense()
    return x.map_linear(lambda rows: rows.expand(-1, *shape))


@rule(torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__)
def add(x: Operand, y: Operand, *, alpha: float = 1) -> LapTuple:
    """Add two operands, at least one of them tracked.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.
        alpha: factor on y.

    Returns:
        x + alpha y with its derivatives.
    """
    if not isinstance(x, LapTuple):
        x, y, alpha = multiply(y, alpha) if alpha != 1 else y, x, 1
    if not isinstance(y, LapTuple):
        value = torch.add(x.value, y, alpha=alpha)
        wide = expand(x, value.shape)
        if torch.is_grad_enabled() and wide.dtype == value.dtype:
            return LapTuple(value, wide.jacobian, wide.laplacian, wide.support)
        rows = wide.rows.to(value.dtype, memory_format=torch.contiguous_format, copy=True)
        rows[-1] = value
        return LapTuple.from_rows(rows, wide.support)
    y = multiply(y, alpha) if alpha != 1 else y
    shape = torch.broadcast_shapes(x.shape, y.shape)
    x, y = expand(x, shape), expand(y, shape)
    if x.support == y.support:
        return LapTuple.from_rows(x.rows + y.rows, x.support)
    x, y = x.dense() if x.support.kind is Kind.PAIR else x, y.dense() if y.support.kind is Kind.PAIR else y
    if x.support.kind is not Kind.DENSE:
        x, y = y, x
    x = x.dense()
    if y.support.kind is Kind.DENSE or torch.is_grad_enabled():
        return LapTuple.from_rows(x.rows + y.dense().rows, x.support)
    dtype = torch.promote_types(x.dtype, y.dtype)
    rows = x.rows.to(dtype, memory_format=torch.contiguous_format, copy=True)
    accumulate(rows[:-2], y.jacobian, y.support)
    rows[-2:] += y.rows[-2:]
    return LapTuple.from_rows(rows, x.support)


def _dense_alike(x: LapTuple, y: Operand) -> bool:
    """Whether y can be added row by row into the memory of x."""
    if torch.is_grad_enabled() or not isinstance(y, LapTuple):
        return False
    alike = x.support.kind is y.support.kind is Kind.DENSE and x.ndim == y.ndim
    return alike and x.rows.is_contiguous() and torch.broadcast_shapes(x.shape, y.shape) == x.shape


@rule(torch.Tensor.__iadd__, torch.Tensor.add_)
def add_in_place(x: LapTuple, y: Operand, *, alpha: float = 1) -> LapTuple:
    """Add to a tracked tensor, within its own memory where the supports allow.

    Args:
        x: tracked tensor; changed.
        y: tracked tensor, tensor or number.
        alpha: factor on y.

    Returns:
        The same object, now x + alpha y, or the sum, for x to become.
    """
    if not _dense_alike(x, y):
        return add(x, y, alpha=alpha)
    x.rows.add_(y.rows, alpha=alpha)
    return x


@rule(torch.Tensor.__imul__, torch.Tensor.mul_)
def multiply_in_place(x: LapTuple, y: Operand) -> LapTuple:
    """Multiply a tracked tensor, within its own memory where y is a number.

    Args:
        x: tracked tensor; changed.
        y: tracked tensor, tensor or number.

    Returns:
        The same object, now x y, or the product, for x to become.
    """
    if torch.is_grad_enabled() or not (isinstance(y, int | float) and x.rows.is_contiguous()):
        return multiply(x, y)
    x.rows *= y
    return x


@rule(torch.neg, torch.Tensor.neg, torch.Tensor.__neg__)
def negative(x: LapTuple) -> LapTuple:
    """Negate a tracked tensor.

    Args:
        x: tracked tensor.

    Returns:
        -x with its derivatives.
    """
    return x.map_linear(torch.neg)


@rule(torch.sub, torch.Tensor.sub, torch.Tensor.__sub__)
def subtract(x: Operand, y: Operand, *, alpha: float = 1) -> LapTuple:
    """Subtract two operands, at least one of them tracked.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.
        alpha: factor on y.

    Returns:
        x - alpha y with its derivatives.
    """
    return add(x, y, alpha=-alpha)


@rule(torch.rsub, torch.Tensor.__rsub__)
def reverse_subtract(x: Operand, y: Operand) -> LapTuple:
    """Subtract in reverse order.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.

    Returns:
        y - x with its derivatives.
    """
    return subtract(y, x)


@rule(torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__)
def multiply(x: Operand, y: Operand) -> LapTuple:
    """Multiply two operands, at least one of them tracked: L = L_x y + x L_y + 2 sum_D J_x J_y.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.

    Returns:
        x y with its derivatives.
    """
    if not isinstance(x, LapTuple):
        x, y = y, x
    if not isinstance(y, LapTuple):
        shape = torch.broadcast_shapes(x.shape, y.shape) if isinstance(y, Tensor) else x.shape
        return expand(x, shape).map_linear(lambda rows: rows * y)
    shape = torch.broadcast_shapes(x.shape, y.shape)
    x, y = expand(x, shape), expand(y, shape)
    if x.support != y.support:
        if x.support.kind is Kind.DENSE and y.support.kind is Kind.ELECTRON:
            return _multiply_dense_electron(x, y)
        if y.support.kind is Kind.DENSE and x.support.kind is Kind.ELECTRON:
            return _multiply_dense_electron(y, x)
        x, y = x.dense(), y.dense()
    if torch.is_grad_enabled():
        jacobian = torch.addcmul(x.jacobian * y.value, y.jacobian, x.value)
        laplacian = torch.addcmul(x.laplacian * y.value, y.laplacian, x.value)
        laplacian = laplacian + 2 * (x.jacobian * y.jacobian).sum(0)
        return LapTuple(x.value * y.value, jacobian, laplacian, x.support)
    rows = x.rows * y.value
    rows[:-1].addcmul_(y.rows[:-1], x.value)
    rows[-2].add_((x.jacobian * y.jacobian).sum(0), alpha=2)
    return LapTuple.from_rows(rows, x.support)


def _multiply_dense_electron(x: LapTuple, y: LapTuple) -> LapTuple:
    (first,) = y.support.first
    own = own_slots(x.jacobian, x.support.n_electrons, first, y.shape[1], 1).movedim(-1, 2)
    if torch.is_grad_enabled():
        bend = (y.laplacian * x.value + 2 * (own * y.jacobian).sum(0))[None]
        change = torch.cat([y.jacobian * x.value, bend, torch.zeros_like(bend)])
        return LapTuple.from_rows(x.rows * y.value + scatter(change, y.support), x.support)
    rows, change = x.rows * y.value, y.rows[:-1] * x.value
    accumulate(rows[:-2], change[:-1], y.support)
    rows[-2] += change[-1]
    rows[-2].add_((own * y.jacobian).sum(0), alpha=2)
    return LapTuple.from_rows(rows, x.support)


@rule(torch.div, torch.true_divide, torch.Tensor.div, torch.Tensor.true_divide, torch.Tensor.__truediv__)
def divide(x: Operand, y: Operand) -> LapTuple:
    """Divide two operands, at least one of them tracked.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.

    Returns:
        x / y with its derivatives.
    """
    if isinstance(y, LapTuple):
        return multiply(x, y.reciprocal())
    shape = torch.broadcast_shapes(x.shape, y.shape) if isinstance(y, Tensor) else x.shape
    return expand(x, shape).map_linear(lambda rows: rows / y)


@rule(torch.Tensor.__rtruediv__)
def reverse_divide(x: Operand, y: Operand) -> LapTuple:
    """Divide in reverse order.

    Args:
        x: tracked tensor, tensor or number.
        y: tracked tensor, tensor or number.

    Returns:
        y / x with its derivatives.
    """
    return divide(y, x)


@rule(torch.complex)
def complex_from_parts(real: Any, imag: Any) -> LapTuple:
    """Combine real and imaginary part, at least one of them tracked.

    Args:
        real: tracked tensor or tensor, real.
        imag: tracked tensor or tensor, real.

    Returns:
        real + i imag with its derivatives.
    """
    alike = isinstance(real, LapTuple) and isinstance(imag, LapTuple) and real.support == imag.support
    if alike and real.shape == imag.shape:
        return LapTuple.from_rows(torch.complex(real.rows, imag.rows), real.support)
    return add(real, imag * 1j)


@rule(torch.linalg.vector_norm)
def vector_norm(x: LapTuple, ord: float = 2, dim: int = -1, keepdim: bool = False) -> LapTuple:
    """Euclidean norm over one feature axis: L = (x.L + sum_D |J|^2 - sum_D (J_y)^2) / y.

    Args:
        x: tracked tensor.
        ord: 2, the only order supported.
        dim: negative axis to reduce, not the batch.
        keepdim: keep the reduced axis with length one.

    Returns:
        |x| with its derivatives.

    Raises:
        NotImplementedError: for another order, a positive axis or complex numbers.
    """
    if x.dtype.is_complex:
        raise NotImplementedError("vector_norm is tracked for real numbers alone")
    if ord != 2 or not isinstance(dim, int) or dim >= 0:
        raise NotImplementedError(f"vector_norm is tracked for ord=2 over one negative axis, got ord={ord}, dim={dim}")
    x = x if x.feature_axis(dim) > x.support.owner_axes else x.dense()
    value = torch.linalg.vector_norm(x.value, dim=dim, keepdim=True)
    unit = x.value / value
    jacobian = (x.jacobian * unit).sum(dim, keepdim=True)
    squares = kernels.sum_of_squares(x.jacobian).sum(dim, keepdim=True) - kernels.sum_of_squares(jacobian)
    laplacian = (unit * x.laplacian).sum(dim, keepdim=True) + squares / value
    result = LapTuple(value, jacobian, laplacian, x.support)
    return result if keepdim else result.map_linear(lambda tensor: tensor.squeeze(dim))
