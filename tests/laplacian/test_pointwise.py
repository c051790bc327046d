import pytest
import torch
import torch.nn.functional as F

from qmcnet.laplacian import LapTuple, pair_differences, rule, track
from qmcnet.laplacian.laptuple import RULES
from qmcnet.laplacian.pointwise import FUNCTIONS, pointwise

ANYWHERE = [torch.tanh, torch.exp, torch.square, torch.sigmoid, F.silu, F.softplus]
POSITIVE = [torch.log, torch.sqrt, torch.reciprocal]
METHODS = ["tanh", "exp", "square", "sigmoid", "log", "sqrt", "reciprocal"]


def test_every_registered_function_is_tested():
    assert {functions[0] for functions in FUNCTIONS.values()} == {*ANYWHERE, *POSITIVE}


@pytest.mark.parametrize("function", ANYWHERE, ids=lambda function: function.__name__)
def test_function_has_its_derivatives(function, positions, assert_tracked):
    assert_tracked(function, positions)
    assert_tracked(lambda x: function(pair_differences(x)), positions)


@pytest.mark.parametrize("function", POSITIVE, ids=lambda function: function.__name__)
def test_function_of_positive_numbers_has_its_derivatives(function, positions, assert_tracked):
    assert_tracked(lambda x: function(torch.square(x) + 0.5), positions)


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
    with pytest.raises(NotImplementedError, match=r"torch\.sin"):
        torch.sin(track(positions))
    monkeypatch.setattr("qmcnet.laplacian.laptuple.RULES", dict(RULES))

    @rule(torch.sin, torch.Tensor.sin)
    def sine(x: LapTuple) -> LapTuple:
        value = torch.sin(x.value)
        return pointwise(x, value, torch.cos(x.value), -value)

    assert_tracked(torch.sin, positions)
    assert_tracked(lambda x: x.sin(), positions)
