"""Forward-Laplacian rules of pointwise functions: y = f(x), J_y = f' J_x, L_y = f' L_x + f'' sum_D J_x^2."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.laplacian.arithmetic import expand
from qmcnet.laplacian.laptuple import LapTuple, rule

Triple = tuple[Tensor, Tensor, Tensor]


def pointwise(x: LapTuple, value: Tensor, first: Tensor, second: Tensor) -> LapTuple:
    """Chain a pointwise function given its value and two derivatives at x.

    Args:
        x: argument.
        value: f(x), shape of x.
        first: f'(x), shape of x.
        second: f''(x), shape of x.

    Returns:
        f(x) with its derivatives and the support of x.
    """
    if torch.is_grad_enabled():
        chained = Chain.apply(x.jacobian, x.laplacian, value, first, second)  # type: ignore[no-untyped-call]
        return LapTuple.from_rows(chained, x.support)
    rows, squares = torch.empty_like(x.rows), kernels.sum_of_squares(x.jacobian)
    torch.mul(x.rows[:-1], first, out=rows[:-1])
    rows[-2].addcmul_(second, squares)
    rows[-1] = value
    return LapTuple.from_rows(rows, x.support)


class Chain(torch.autograd.Function):
    """The chain rule as one operation of autograd, which takes fewer passes over the rows than its parts do."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        """Chain a pointwise function.

        Args:
            ctx: keeps what `backward` needs.
            *parts: jacobian (D, B, ...) and Laplacian of the argument, and f, f' and f'' there, each (B, ...).

        Returns:
            Rows of f(x), shape (D + 2, B, ...).
        """
        jacobian, laplacian, value, first, second = parts
        ctx.save_for_backward(jacobian, laplacian, first, second)
        rows = jacobian.new_empty((len(jacobian) + 2, *value.shape))
        torch.mul(jacobian, first, out=rows[:-2])
        torch.addcmul(laplacian * first, second, kernels.sum_of_squares(jacobian), out=rows[-2])
        rows[-1] = value
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Differentiate in reverse.

        Args:
            ctx: what `forward` kept.
            *gradients: by the rows of the result, shape (D + 2, B, ...).

        Returns:
            Gradients by the parts.
        """
        jacobian, laplacian, first, second = (saved.conj() for saved in ctx.saved_tensors)
        by_jacobian, by_laplacian, by_value = gradients[0][:-2], gradients[0][-2], gradients[0][-1]
        result = (by_jacobian * first).addcmul_(jacobian, 2 * by_laplacian * second)
        by_first = (by_jacobian * jacobian).sum(0).addcmul_(by_laplacian, laplacian)
        by_second = by_laplacian * kernels.sum_of_squares(jacobian)
        return result, by_laplacian * first, by_value, by_first, by_second


def _tanh(x: Tensor) -> Triple:
    y = kernels.tanh(x)
    first = 1 - y * y
    return y, first, -2 * y * first


def _exp(x: Tensor) -> Triple:
    y = torch.exp(x)
    return y, y, y


def _log(x: Tensor) -> Triple:
    inverse = x.reciprocal()
    return torch.log(x), inverse, -inverse.square()


def _sqrt(x: Tensor) -> Triple:
    y = torch.sqrt(x)
    first = 0.5 / y
    return y, first, -0.5 * first / x


def _reciprocal(x: Tensor) -> Triple:
    y = x.reciprocal()
    return y, -y.square(), 2 * y.pow(3)


def _square(x: Tensor) -> Triple:
    return x.square(), 2 * x, torch.full_like(x, 2.0)


def _sigmoid(x: Tensor) -> Triple:
    y = torch.sigmoid(x)
    first = y * (1 - y)
    return y, first, first * (1 - 2 * y)


def _silu(x: Tensor) -> Triple:
    s, ds, d2s = _sigmoid(x)
    return x * s, s + x * ds, 2 * ds + x * d2s


def _rsqrt(x: Tensor) -> Triple:
    y = torch.rsqrt(x)
    first = -0.5 * y / x
    return y, first, -1.5 * first / x


def _log1p(x: Tensor) -> Triple:
    inverse = (1 + x).reciprocal()
    return torch.log1p(x), inverse, -inverse.square()


def _expm1(x: Tensor) -> Triple:
    y = torch.exp(x)
    return torch.expm1(x), y, y


def _sin(x: Tensor) -> Triple:
    y = torch.sin(x)
    return y, torch.cos(x), -y


def _cos(x: Tensor) -> Triple:
    y = torch.cos(x)
    return y, -torch.sin(x), -y


def _erf(x: Tensor) -> Triple:
    first = 2 / math.sqrt(math.pi) * torch.exp(-x.square())
    return torch.erf(x), first, -2 * x * first


def _abs(x: Tensor) -> Triple:
    return x.abs(), torch.sign(x), torch.zeros_like(x)


def _relu(x: Tensor) -> Triple:
    return torch.relu(x), (x > 0).to(x.dtype), torch.zeros_like(x)


FUNCTIONS: dict[Callable[[Tensor], Triple], tuple[Callable[..., Any], ...]] = {
    _tanh: (torch.tanh, torch.Tensor.tanh),
    _exp: (torch.exp, torch.Tensor.exp),
    _log: (torch.log, torch.Tensor.log),
    _sqrt: (torch.sqrt, torch.Tensor.sqrt),
    _reciprocal: (torch.reciprocal, torch.Tensor.reciprocal),
    _square: (torch.square, torch.Tensor.square),
    _sigmoid: (torch.sigmoid, torch.Tensor.sigmoid),
    _silu: (F.silu,),
    _rsqrt: (torch.rsqrt, torch.Tensor.rsqrt),
    _log1p: (torch.log1p, torch.Tensor.log1p),
    _expm1: (torch.expm1, torch.Tensor.expm1, torch.special.expm1),
    _sin: (torch.sin, torch.Tensor.sin),
    _cos: (torch.cos, torch.Tensor.cos),
    _erf: (torch.erf, torch.Tensor.erf, torch.special.erf),
    _abs: (torch.abs, torch.Tensor.abs),
    _relu: (torch.relu, torch.Tensor.relu, F.relu),
}


def _register(derivatives: Callable[[Tensor], Triple], functions: tuple[Callable[..., Any], ...]) -> None:
    @rule(*functions)
    def apply(x: LapTuple) -> LapTuple:
        """Apply the function to every number."""
        return pointwise(x, *derivatives(x.value))


for _derivatives, _functions in FUNCTIONS.items():
    _register(_derivatives, _functions)


@rule(F.softplus)
def softplus(x: LapTuple, beta: float = 1.0, threshold: float = 20.0) -> LapTuple:
    """Smooth ramp log(1 + exp(beta x)) / beta.

    Args:
        x: argument.
        beta: steepness.
        threshold: value of beta x beyond which torch returns x itself.

    Returns:
        The ramp with its derivatives.
    """
    s, ds, _ = _sigmoid(beta * x.value)
    straight = beta * x.value > threshold
    second = beta * ds.masked_fill(straight, 0)
    return pointwise(x, F.softplus(x.value, beta, threshold), s.masked_fill(straight, 1), second)


@rule(F.gelu)
def gelu(x: LapTuple, approximate: str = "none") -> LapTuple:
    """Gaussian error linear unit, x Phi(x).

    Args:
        x: argument.
        approximate: 'none', or 'tanh' for the form x (1 + tanh(c (x + 0.044715 x^3))) / 2 with c = sqrt(2 / pi).

    Returns:
        The unit with its derivatives.
    """
    v = x.value
    y = F.gelu(v, approximate=approximate)
    if approximate == "none":
        e, de, d2e = _erf(v * math.sqrt(0.5))
        return pointwise(x, y, (1 + e) / 2 + v * de * math.sqrt(1 / 8), de * math.sqrt(0.5) + v * d2e / 4)
    c = math.sqrt(2 / math.pi)
    t, dt, d2t = _tanh(c * (v + 0.044715 * v.pow(3)))
    slope, bend = c * (1 + 0.134145 * v.square()), c * 0.26829 * v
    first, second = dt * slope, d2t * slope.square() + dt * bend
    return pointwise(x, y, (1 + t + v * first) / 2, first + v * second / 2)


@rule(F.elu)
def elu(x: LapTuple, alpha: float = 1.0) -> LapTuple:
    """Exponential linear unit: x where positive, else alpha (exp(x) - 1).

    Args:
        x: argument.
        alpha: depth of the plateau.

    Returns:
        The unit with its derivatives.
    """
    positive, decay = x.value > 0, alpha * torch.exp(x.value.clamp(max=0))
    return pointwise(x, F.elu(x.value, alpha), torch.where(positive, 1, decay), torch.where(positive, 0, decay))


@rule(F.leaky_relu)
def leaky_relu(x: LapTuple, negative_slope: float = 0.01) -> LapTuple:
    """Ramp: x where positive, else negative_slope x.

    Args:
        x: argument.
        negative_slope: slope on the negative side.

    Returns:
        The ramp with its derivatives.
    """
    v = x.value
    first = torch.full_like(v, negative_slope).masked_fill(v > 0, 1)
    return pointwise(x, F.leaky_relu(v, negative_slope), first, torch.zeros_like(v))


@rule(torch.pow, torch.Tensor.pow, torch.Tensor.__pow__)
def power(x: LapTuple, exponent: float | Tensor) -> LapTuple:
    """Raise a tracked tensor to a constant power.

    Args:
        x: base.
        exponent: a number, or a tensor that broadcasts with x.

    Returns:
        x ** exponent with its derivatives.

    Raises:
        NotImplementedError: if the exponent depends on the electrons.
    """
    if not isinstance(x, LapTuple) or isinstance(exponent, LapTuple):
        raise NotImplementedError("pow is tracked for constant exponents: write exp(log(x) * exponent)")
    if isinstance(exponent, Tensor):
        exponent = exponent if exponent.is_floating_point() else exponent.to(x.dtype)  # unsigned ones cannot count down
        x = expand(x, torch.broadcast_shapes(x.shape, exponent.shape))
    p, value = exponent, x.value
    return pointwise(x, value.pow(p), _monomial(p, value, p - 1), _monomial(p * (p - 1), value, p - 2))


def _monomial(factor: float | Tensor, x: Tensor, exponent: float | Tensor) -> Tensor:
    """Return factor x^exponent, and zero where the factor is zero, also where the power is infinite."""
    if not isinstance(factor, Tensor):
        return factor * x.pow(exponent) if factor else torch.zeros_like(x)
    return torch.where(factor == 0, 0, factor * x.pow(exponent))
