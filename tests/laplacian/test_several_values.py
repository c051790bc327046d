"""Functions of several values under both back ends: derivatives of each value, as if it were alone."""

import pytest
import torch

from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian, forward_laplacian, scaled_exp, torch_func_laplacian

DOUBLE = torch.float64
SIGNS = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=DOUBLE)

each_backend = pytest.mark.parametrize(
    "backend",
    [forward_laplacian, torch_func_laplacian, ForwardLaplacian(), TorchFuncLaplacian(), ForwardLaplacian(chunk_size=2)],
    ids=["forward", "torch_func", "ForwardLaplacian", "TorchFuncLaplacian", "chunks"],
)


def logarithms(x):
    """Return four logarithms, none of them the largest everywhere, (B, 4)."""
    square, distance = x.square().sum((-2, -1)), torch.linalg.vector_norm(x, dim=-1).sum(-1)
    return torch.stack([-0.4 * square, -distance, 0.2 * square - 3, torch.tanh(x[:, :, 0]).sum(-1) - 2], -1)


@pytest.fixture
def points():
    return torch.randn(7, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))


def assert_same(result, index, expected, factor):
    """Compare one value of several with a function of one, times a constant for each walker."""
    places = (slice(None), *index)
    for part, other in zip(
        (result.value, result.gradient, result.laplacian),
        (expected.value, expected.gradient, expected.laplacian),
        strict=True,
    ):
        weights = factor.reshape(-1, *[1] * (other.ndim - 1))
        torch.testing.assert_close(part[places], other * weights, rtol=1e-11, atol=1e-11)


@each_backend
def test_each_value_has_its_own_derivatives(backend, points):
    result = backend(lambda x: logarithms(x).unflatten(-1, (2, 2)), points)
    assert result.value.shape == result.laplacian.shape == (7, 2, 2)
    assert result.gradient.shape == (7, 2, 2, 2, 3)
    for i in range(4):
        alone = torch_func_laplacian(lambda x, i=i: logarithms(x)[:, i], points)
        assert_same(result, divmod(i, 2), alone, torch.ones(7, dtype=DOUBLE))


@each_backend
def test_a_common_divisor_of_exponentials_is_a_constant(backend, points):
    """exp(l - shift) has the derivatives of exp(l) / c, not those of the quotient with the largest."""
    result = backend(lambda x: scaled_exp(SIGNS, logarithms(x))[0], points)
    largest = logarithms(points).amax(-1)
    assert logarithms(points).argmax(-1).unique().numel() >= 2
    for i in range(4):
        alone = torch_func_laplacian(lambda x, i=i: logarithms(x)[:, i].exp(), points)
        assert_same(result, (i,), alone, SIGNS[i] * (-largest).exp())


@each_backend
@pytest.mark.parametrize("extra", [lambda x: torch.tanh(x[..., 0]), lambda x: torch.ones(x.shape[:2], dtype=DOUBLE)])
def test_what_is_returned_besides_is_carried_along_and_changes_nothing(backend, extra, points):
    plain, result = backend(logarithms, points), backend(lambda x: (logarithms(x), extra(x)), points)
    assert plain.extra is None
    torch.testing.assert_close(result.extra, extra(points), rtol=1e-14, atol=1e-14)
    for name in ("value", "gradient", "laplacian"):
        assert torch.equal(getattr(result, name), getattr(plain, name)), name
    complex_ = backend(lambda x: (torch.complex(logarithms(x), 2 * logarithms(x)), extra(x)), points)
    torch.testing.assert_close(complex_.extra, extra(points), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(complex_.laplacian, plain.laplacian * (1 + 2j), rtol=1e-12, atol=1e-12)
