"""Functions where a factor of a derivative is infinite, masked or at a kink, and operands of other types."""

import pytest
import torch
import torch.nn.functional as F

from qmcnet.laplacian import forward_laplacian, signed_log_sum, torch_func_laplacian, track
from qmcnet.laplacian.determinant import factorized, log_derivatives

DOUBLE = torch.float64
ORIGIN = torch.zeros(1, 2, 3, dtype=DOUBLE)
NEARBY = torch.tensor([[[0.0, 1.0, -2.0], [0.5, 0.0, 3.0]]], dtype=DOUBLE)


def derivatives_at(function, positions):
    result = forward_laplacian(lambda x: function(x).sum((1, 2)), positions)
    return result.gradient, result.laplacian


@pytest.mark.parametrize("exponent", [0, 1, 1.0, 2, 2.0, 3, 4, 2.5])
def test_powers_of_zero(exponent):
    p = float(exponent)
    for power in (lambda x: x**exponent, lambda x: torch.pow(x, torch.full((3,), p, dtype=DOUBLE))):
        gradient, laplacian = derivatives_at(power, ORIGIN)
        assert gradient.tolist() == torch.full_like(gradient, float(p == 1)).tolist()
        assert laplacian.tolist() == [12.0 if p == 2 else 0.0]


@pytest.mark.parametrize("exponent", [0.5, -1, 1.5])
def test_powers_that_are_singular_at_zero_are_not_finite_there(exponent):
    assert not derivatives_at(lambda x: x**exponent, ORIGIN)[1].isfinite().any()


@pytest.mark.parametrize("exponent", [torch.tensor(3), torch.tensor([0, 1, 2], dtype=torch.uint8), torch.rand(2, 2, 3)])
def test_exponents_of_every_type(exponent, positions, assert_tracked):
    exponent = exponent.double() if exponent.is_floating_point() else exponent
    assert_tracked(lambda x: (x[:, :2].square() + 0.1) ** exponent[0] if exponent.ndim == 3 else x**exponent, positions)
    if exponent.ndim:
        assert_tracked(lambda x: (x[..., :1].square() + 0.1) ** exponent.flatten()[:3], positions)


FUNCTIONS = {
    "square": torch.square,
    "abs": torch.abs,
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "erf": torch.erf,
    "expm1": torch.expm1,
    "log1p": lambda x: torch.log1p(x.square()),
    "rsqrt": lambda x: torch.rsqrt(1 + x.square()),
    "where": lambda x: torch.where(torch.tensor([True, False, True]), x * x, torch.log(-1 - x * x)),
    "where by uint8": lambda x: torch.where(torch.tensor([1, 0, 1], dtype=torch.uint8), x * x, 3 * x),
    "masked_fill": lambda x: torch.log(x * x - 100).masked_fill(torch.ones(3, dtype=torch.bool), 2.0) + x,
    "logaddexp": lambda x: torch.logaddexp(x, x.square()),
}


def test_softplus_is_a_straight_line_past_its_threshold():
    points = torch.tensor([[[0.6, 5.0, 30.0]]], dtype=DOUBLE)  # torch.func keeps the second derivative of the bend
    gradient, laplacian = derivatives_at(lambda x: F.softplus(x, beta=2, threshold=1), points)
    assert (gradient.tolist(), laplacian.tolist()) == ([[[1.0] * 3]], [0.0])


@pytest.mark.filterwarnings("ignore:where received a uint8")
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_at_zero(function):
    for positions in (ORIGIN, NEARBY):
        gradient, laplacian = derivatives_at(function, positions)
        expected = torch_func_laplacian(lambda x: function(x).sum((1, 2)), positions)
        torch.testing.assert_close(gradient, expected.gradient, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(laplacian, expected.laplacian, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [torch.softmax, torch.logsumexp])
def test_entries_masked_by_minus_infinity(function, positions, assert_tracked):
    mask = torch.tensor([False, True, False])
    assert_tracked(lambda x: function(x.masked_fill(mask, -torch.inf), -1), positions)
    assert_tracked(lambda x: function(torch.where(mask, -torch.inf, x * x), -1), positions)


def test_operands_of_integers(positions, assert_tracked):
    small = torch.tensor([1, 2, 250], dtype=torch.uint8)
    for function in (lambda x: x - small, lambda x: x / small, lambda x: small - x, lambda x: small / (1 + x * x)):
        assert_tracked(function, positions)
    assert torch.equal((track(positions) / 3).value, positions / 3)
    assert torch.equal((track(positions) / small).value, positions / small)


@pytest.mark.parametrize("reduce", [torch.sum, torch.mean])
def test_no_axes_are_all_axes_the_batch_among_them(reduce, positions):
    assert reduce(positions, []).ndim == 0
    with pytest.raises(ValueError, match="batch axis"):
        reduce(track(positions), [])


def test_determinants_without_electrons():
    sign, log_abs, inverse = factorized(torch.ones(5, 0, 0, dtype=DOUBLE))
    assert (sign.tolist(), log_abs.tolist()) == ([1.0] * 5, [0.0] * 5)
    traces, squares = log_derivatives(torch.ones(5, 7, 0, 0, dtype=DOUBLE), inverse)
    assert (traces.shape, squares.tolist()) == ((5, 7), [0.0] * 5)


def test_a_determinant_that_vanishes_among_others_has_no_weight(positions, assert_tracked):
    signs = torch.tensor([1.0, 0.0], dtype=DOUBLE)
    assert_tracked(lambda x: signed_log_sum(signs, x.square().sum(-1)[:, :2])[1], positions)


def test_index_tensors_apart_are_refused_and_together_are_not(positions, assert_tracked):
    pick = torch.tensor([0, 2])
    with pytest.raises(ValueError, match="before the batch axis"):
        track(positions)[:, :, None][:, pick, :, pick]
    assert_tracked(lambda x: x[:, pick, pick], positions)
    assert_tracked(lambda x: x[:, :, None][:, 0, :, pick], positions)
