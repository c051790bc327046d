"""Determinants and their signed sums, for tensors and with forward-Laplacian rules.

For M_D = A^-1 J_D: grad log det A = tr M_D and lap log det A = tr(A^-1 L) - sum_D tr(M_D M_D).
For psi = sum_k s_k exp(l_k) with weights w_k = s_k exp(l_k) / psi: grad log psi = sum_k w_k g_k and
lap log psi = sum_k w_k (L_k + g_k^2) - grad^2.

All of this holds for complex numbers, of which the sign s = det A / |det A| is a phase. The phase at the point is a
constant, and what is tracked is l with det A = s exp(l): its value log|det A| is real at the point, its derivatives are
those of the complex logarithm.
"""

from typing import Any

import torch
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.laplacian.laptuple import LapTuple, rule
from qmcnet.laplacian.supports import dense_support


@rule(torch.linalg.slogdet, torch.slogdet, torch.Tensor.slogdet)
def slogdet(matrix: LapTuple) -> tuple[Tensor, LapTuple]:
    """Sign and logarithm of the modulus of determinants.

    Args:
        matrix: tracked tensor, shape (B, ..., n, n).

    Returns:
        The sign or phase (B, ...), a constant, and log|det| (B, ...) with the derivatives of log det.
    """
    matrix = matrix.dense()
    if torch.is_grad_enabled():
        # Where one of many determinants nearly vanishes, its parts cancel; derivatives magnify what rounding leaves.
        double = torch.promote_types(matrix.dtype, torch.float64)
        matrix = matrix.map_linear(lambda tensor: tensor.to(double))
    sign, value, inverse = factorized(matrix.value)
    rows = matrix.rows[:-1].movedim(0, -3).flatten(0, -4)  # (M, D + 1, n, n), M = B ...
    traces, squares = log_derivatives(rows, inverse.flatten(0, -3))
    traces = traces.unflatten(0, value.shape).movedim(-1, 0)  # (D + 1, B, ...)
    laplacian = traces[-1] - squares.view_as(value)
    return sign, LapTuple(value, traces[:-1], laplacian, dense_support(matrix.support.n_electrons))


def factorized(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sign and logarithm of the modulus of the determinant, and inverse, by one LU factorisation.

    Args:
        matrix: shape (..., n, n).

    Returns:
        Sign or phase (...), log|det| (...), and inverse (..., n, n), which is not finite for a singular matrix.
    """
    if torch.is_grad_enabled():  # of these torch has simpler derivatives
        return *torch.linalg.slogdet(matrix), torch.linalg.inv_ex(matrix)[0]
    factors, pivots, _ = torch.linalg.lu_factor_ex(matrix)
    diagonal = factors.diagonal(dim1=-2, dim2=-1)
    unmoved = torch.arange(1, matrix.shape[-1] + 1, device=matrix.device, dtype=pivots.dtype)
    odd = (pivots != unmoved).sum(-1) % 2
    sign = torch.where(odd == 1, -1, 1) * diagonal.sgn().prod(-1)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    return sign, diagonal.abs().log().sum(-1), torch.linalg.lu_solve(factors, pivots, identity)


CACHED = 2**17
"""Numbers worked on at a time, which a CPU keeps in the cache of one core."""


def log_derivatives(rows: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Contract the derivatives of matrices with their inverses.

    A CPU works group by group, in its cache. Elsewhere a batch is one product, which the chunk of walkers bounds.

    Args:
        rows: jacobian and Laplacian of M matrices, shape (M, D + 1, n, n).
        inverse: inverse matrices, shape (M, n, n).

    Returns:
        tr(J_D A^-1) and tr(L A^-1), shape (M, D + 1), and sum_D tr((J_D A^-1)^2), shape (M,).
    """
    if rows.device.type != "cpu":
        return _contracted(rows, inverse)
    traces, squares = traced_groups(rows, inverse) if kernels.tracing() else _groups(rows, inverse)
    return traces, squares


def _contracted(rows: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    product = kernels.matmul(rows.flatten(1, 2), inverse).view_as(rows)
    first = product[:, :-1]
    return product.diagonal(dim1=-2, dim2=-1).sum(-1), (first * first.mT).sum((1, 2, 3))


def _groups(rows: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    size = max(1, CACHED // max(1, rows[0].numel()))
    parts = [_contracted(*group) for group in zip(rows.split(size), inverse.split(size), strict=True)]
    return torch.cat([traces for traces, _ in parts]), torch.cat([squares for _, squares in parts])


@torch.library.custom_op("qmcnet::log_derivatives", mutates_args=())
def traced_groups(rows: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Do all groups as one operation for the compiler, which would unroll them.

    Args:
        rows: jacobian and Laplacian of M matrices, shape (M, D + 1, n, n).
        inverse: inverse matrices, shape (M, n, n).

    Returns:
        What `log_derivatives` returns.
    """
    with torch.inference_mode():  # where the fast kernels are
        traces, squares = _groups(rows, inverse)
    return traces.clone(), squares.clone()


@traced_groups.register_fake
def _(rows: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    return rows.new_empty(rows.shape[:2]), rows.new_empty(rows.shape[:1])


def scaled_exp(sign: Tensor, log_abs: Tensor | LapTuple) -> tuple[Any, Tensor]:
    """Exponentiate signed logarithms along the last axis, all divided by the largest modulus among them.

    Args:
        sign: signs or phases, shape (..., S).
        log_abs: logarithms of the moduli, shape (..., S), tracked or not.

    Returns:
        sign exp(log_abs - shift), shape (..., S), and the shift (...), a constant for every kind of derivative.
    """
    value = log_abs.value.real if isinstance(log_abs, LapTuple) else log_abs
    shift = value.detach().amax(-1, keepdim=True)
    return torch.exp(log_abs - shift) * sign, shift.squeeze(-1)  # type: ignore[operator]


def signed_log_sum(sign: Tensor, log_abs: Tensor | LapTuple) -> tuple[Tensor, Any]:
    """Sum numbers given by sign and logarithm, over the last axis.

    Args:
        sign: signs or phases, shape (B, ..., K).
        log_abs: logarithms of the moduli, shape (B, ..., K), tracked or not.

    Returns:
        The sign or phase (B, ...) and the logarithm of the modulus (B, ...) of the sum.
    """
    value = log_abs.value.real if isinstance(log_abs, LapTuple) else log_abs
    # The shift is a constant for autograd: it cancels between the two terms.
    # The clamp keeps a sum of zeros at zero, where -inf - -inf would make it NaN.
    shift = value.detach().amax(-1, keepdim=True).clamp(min=torch.finfo(value.dtype).min)
    terms = sign * torch.exp(value - shift)
    total = terms.sum(-1)
    log_total = torch.log(total.abs()) + shift.squeeze(-1)
    if not isinstance(log_abs, LapTuple):
        return torch.sgn(total), log_total
    dense = log_abs.dense()
    weights = terms / total[..., None]
    jacobian = (dense.jacobian * weights).sum(-1)
    squares = dense.jacobian.square().sum(0)
    laplacian = (weights * (dense.laplacian + squares)).sum(-1) - jacobian.square().sum(0)
    return torch.sgn(total), LapTuple(log_total, jacobian, laplacian, dense.support)
