import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from qmcnet.laplacian import LapTuple, pair_differences, rule, track
from qmcnet.laplacian.laptuple import RULES
from qmcnet.laplacian.pointwise import FUNCTIONS, pointwise

ANYWHERE = [torch.tanh, torch.exp, torch.square, torch.sigmoid, F.silu, torch.expm1, torch.sin, torch.cos, torch.erf]
ANYWHERE += [torch.abs, torch.relu]
POSITIVE = [torch.log, torch.sqrt, torch.reciprocal, torch.rsqrt, torch.log1p]
METHODS = ["tanh", "exp", "square", "sigmoid", "log", "sqrt", "reciprocal", "rsqrt", "log1p", "expm1", "sin", "cos"]
METHODS += ["erf", "abs", "relu"]
ACTIVATIONS = {
    "softplus": F.softplus,
    "steep softplus": nn.Softplus(beta=2.5),
    "gelu": F.gelu,
    "gelu by tanh": nn.GELU(approximate="tanh"),
    "elu": F.elu,
    "deep elu": nn.ELU(alpha=0.4, inplace=True),
    "leaky relu": F.leaky_relu,
    "steeper leaky relu": nn.LeakyReLU(0.3),
    "relu": nn.ReLU(inplace=True),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "special": lambda x: torch.special.erf(x) + torch.special.expm1(x),
}


def test_every_registered_function_is_tested():
    assert {functions[0] for functions in FUNCTIONS.values()} == {*ANYWHERE, *POSITIVE}


@pytest.mark.parametrize("function", ANYWHERE, ids=lambda function: function.__name__)
def test_function_has_its_derivatives(function, positions, assert_tracked):
    assert_tracked(function, positions)
    assert_tracked(lambda x: function(pair_differences(x)), positions)


@pytest.mark.parametrize("function", POSITIVE, ids=lambda function: function.__name__)
def test_function_of_positive_numbers_has_its_derivatives(function, positions, assert_tracked):
    assert_tracked(lambda x: function(torch.square(x) + 0.5), positions)


@pytest.mark.parametrize("function", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_activation_has_its_derivatives(function, positions, assert_tracked):
    assert ((positions * 2).max() > 2) and ((positions * 2).min() < -2)
    assert_tracked(lambda x: function(2 * x), positions)
    # A shift keeps the diagonal of pairs off the kinks.
    assert_tracked(lambda x: function(pair_differences(x) + 0.3), positions)


@pytest.mark.parametrize("name", METHODS)
def test_method_is_the_function(name, positions):
    x = track(positions.abs() + 0.1)
    method, function = getattr(x, name)(), getattr(torch, name)(x)
    assert torch.equal(method.laplacian, function.laplacian)
    assert torch.equal(method.jacobian, function.jacobian)


@pytest.mark.parametrize("exponent", [-1.5, -1, 0.5, 2, 3, 4])
def test_power_has_its_derivatives(exponent, positions, assert_tracked):
    assert_tracked(lambda x: (x.square() + 0.3) ** exponent, positions)
    assert_tracked(lambda x: torch.pow(x.square() + 0.3, exponent), positions)
    assert_tracked(lambda x: (x.square() + 0.3).pow(exponent), positions)


def test_power_of_a_negative_base(positions, assert_tracked):
    assert (positions < 0).any()
    assert_tracked(lambda x: x**3, positions)


def test_tracked_exponents_are_refused(positions):
    x = track(positions)
    for attempt in (lambda: torch.pow(2, x), lambda: torch.pow(positions, x), lambda: x**x):
        with pytest.raises(NotImplementedError, match="pow is tracked for constant exponents"):
            attempt()
    with pytest.raises(NotImplementedError, match="__rpow__"):
        2**x


def test_users_can_add_a_rule(positions, assert_tracked, monkeypatch):
    with pytest.raises(NotImplementedError, match=r"no rule .*erfcx.*qmcnet\.laplacian\.rule\(.*erfcx\)"):
        torch.special.erfcx(track(positions))
    monkeypatch.setattr("qmcnet.laplacian.laptuple.RULES", dict(RULES))

    @rule(torch.special.erfcx)
    def erfcx(x: LapTuple) -> LapTuple:
        value = torch.special.erfcx(x.value)
        first = 2 * x.value * value - 2 / math.sqrt(math.pi)
        return pointwise(x, value, first, 2 * value + 2 * x.value * first)

    assert_tracked(torch.special.erfcx, positions)
    assert_tracked(lambda x: torch.special.erfcx(pair_differences(x)), positions)
