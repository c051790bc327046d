"""Forward-Laplacian rules of pointwise functions: y = f(x), J_y = f' J_x, L_y = f' L_x + f'' sum_D J_x^2."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
    squares = torch.einsum("d...,d...->...", x.jacobian, x.jacobian)
    laplacian = first * x.laplacian + second * squares
    return LapTuple(value, x.jacobian * first, laplacian, x.support)


def _tanh(x: Tensor) -> Triple:
    y = torch.tanh(x)
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


def _softplus(x: Tensor) -> Triple:
    s, ds, _ = _sigmoid(x)
    return F.softplus(x), s, ds


FUNCTIONS: dict[Callable[[Tensor], Triple], tuple[Callable[..., Any], ...]] = {
    _tanh: (torch.tanh, torch.Tensor.tanh),
    _exp: (torch.exp, torch.Tensor.exp),
    _log: (torch.log, torch.Tensor.log),
    _sqrt: (torch.sqrt, torch.Tensor.sqrt),
    _reciprocal: (torch.reciprocal, torch.Tensor.reciprocal),
    _square: (torch.square, torch.Tensor.square),
    _sigmoid: (torch.sigmoid, torch.Tensor.sigmoid),
    _silu: (F.silu,),
    _softplus: (F.softplus,),
}


def _register(derivatives: Callable[[Tensor], Triple], functions: tuple[Callable[..., Any], ...]) -> None:
    @rule(*functions)
    def apply(x: LapTuple, inplace: bool = False) -> LapTuple:
        return pointwise(x, *derivatives(x.value))


for _derivatives, _functions in FUNCTIONS.items():
    _register(_derivatives, _functions)


@rule(torch.pow, torch.Tensor.pow, torch.Tensor.__pow__)
def power(x: LapTuple, exponent: float) -> LapTuple:
    """Raise a tracked tensor to a constant power.

    Args:
        x: base.
        exponent: a number.

    Returns:
        x ** exponent with its derivatives.

    Raises:
        NotImplementedError: if the exponent depends on the electrons.
    """
    if not isinstance(x, LapTuple) or isinstance(exponent, LapTuple):
        raise NotImplementedError("pow is tracked for constant exponents: write exp(log(x) * exponent)")
    value = x.value
    first = exponent * value.pow(exponent - 1)
    return pointwise(x, value.pow(exponent), first, exponent * (exponent - 1) * value.pow(exponent - 2))
