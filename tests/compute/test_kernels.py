import pytest
import torch
from torch import nn

from qmcnet.compute import kernels
from qmcnet.compute.kernels import Linear, linear, matmul, mean, sum_of_squares, summation, tanh, traceable
from qmcnet.laplacian import track

ROWS = torch.randn(4, 1200, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(48, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
BIAS = torch.randn(48, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def relative_error(result, expected):
    return ((result.double() - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture
def calls(monkeypatch):
    """Names of the oneDNN operations that take the detour."""
    taken = []
    original = kernels.detour

    def detour(x):
        if original(x):
            taken.append(tuple(x.shape))
            return True
        return False

    monkeypatch.setattr(kernels, "detour", detour)
    monkeypatch.setattr(kernels, "library", lambda: "onednn")
    return taken


@pytest.mark.parametrize("bias", [None, BIAS])
@pytest.mark.parametrize("context", [torch.inference_mode, traceable])
def test_products_have_the_accuracy_of_single_precision(bias, context, calls):
    expected = ROWS @ WEIGHT.mT + (0 if bias is None else bias)
    with torch.no_grad(), context():
        result = linear(ROWS.float(), WEIGHT.float(), None if bias is None else bias.float())
    assert calls
    assert result.shape == (4, 1200, 48)
    assert 1e-9 < relative_error(result, expected) < 2e-6


def test_slices_and_parameters_are_taken_as_they_are():
    slices, weight = ROWS.float()[:, 1::2], nn.Parameter(WEIGHT.float())
    with torch.inference_mode():
        result = linear(slices, weight)
    assert relative_error(result, ROWS[:, 1::2] @ WEIGHT.mT) < 2e-6


def test_onednn_meets_rows_without_gaps_and_transposes_alone(monkeypatch, calls):
    met, exact = [], kernels.packed

    def keep(x):
        met.append(exact(x))
        return met[-1]

    monkeypatch.setattr(kernels, "packed", keep)
    monkeypatch.setattr(kernels, "SMALLEST_PRODUCT", 0)
    wide = torch.randn(512, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        for x in (wide[:, :48], wide[:, 48:], wide[:48].mT, wide[::2].mT[:, :200].mT):
            weight = x[: len(x) // 2] if x.shape[0] > 48 else x
            torch.testing.assert_close(linear(x, weight), x @ weight.mT, rtol=1e-4, atol=1e-4)
    assert len(calls) == 4
    assert len(met) == 8
    assert all(x.is_contiguous() or x.mT.is_contiguous() for x in met)  # the kernel for any layout is 1000 times slower


def test_tanh_has_the_accuracy_of_single_precision(calls):
    x = torch.cat([torch.linspace(-12, 12, 20_001), torch.linspace(-1e-4, 1e-4, 20_001)])
    with torch.inference_mode():
        result = tanh(x).double()
    assert calls
    expected = torch.tanh(x.double())
    assert (result - expected).abs().max() < 2e-7
    nonzero = expected != 0
    assert ((result - expected) / expected)[nonzero].abs().max() < 5e-7
    assert torch.isnan(tanh(torch.full((5000,), torch.nan))).all()


@pytest.mark.parametrize("count", [1, 5])
def test_matrices_are_multiplied_one_by_one(count):
    x = ROWS[0, : count * 64].unflatten(0, (count, 64))
    y = torch.stack([WEIGHT[:, :48].mT @ WEIGHT[:, :48]] * count)
    torch.testing.assert_close(matmul(x[..., :48], y), x[..., :48] @ y)


def test_gradients_do_not_take_the_detour(calls):
    layer, x = Linear(64, 48), ROWS.float().requires_grad_()
    tanh(layer(x)).sum().backward()
    assert not calls
    assert x.grad is not None
    assert layer.weight.grad is not None


def test_double_precision_does_not_take_the_detour(calls):
    with torch.inference_mode():
        assert torch.equal(linear(ROWS, WEIGHT), nn.functional.linear(ROWS, WEIGHT))
    assert not calls


def test_the_layer_is_that_of_torch_and_tracks():
    torch.manual_seed(0)
    layer = Linear(3, 5, dtype=torch.float64)
    points = ROWS[0, :6].reshape(-1, 2, 3)
    assert isinstance(layer, nn.Linear)
    assert torch.equal(layer(points), nn.functional.linear(points, layer.weight, layer.bias))
    tracked = layer(track(points))
    torch.testing.assert_close(tracked.value, layer(points).detach())
    torch.testing.assert_close(tracked.jacobian[:, 0, 0], layer.weight.mT.detach())


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9])
@pytest.mark.parametrize("dim", [1, -2])
@pytest.mark.parametrize("keepdim", [True, False])
def test_sums_and_means_over_short_and_long_axes(size, dim, keepdim):
    x = ROWS[:, :size].unflatten(-1, (8, 8)) if dim == 1 else ROWS[:, None, :size]
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(summation(x, dim, keepdim), x.sum(dim, keepdim=keepdim))
            torch.testing.assert_close(mean(x, dim, keepdim), x.mean(dim, keepdim=keepdim))


def test_short_sums_leave_their_argument_alone():
    x = ROWS[:, :3].clone()
    with torch.no_grad():
        summation(x, 1)
    assert torch.equal(x, ROWS[:, :3])


@pytest.mark.parametrize("shape", [(5, 3), (5, 2, 2**12), (1, 2**13)])
def test_squares_add_up_row_by_row_or_at_once_and_leave_their_argument_alone(shape):
    rows = torch.complex(*torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    before = rows.clone()
    for x in (rows, rows.real):
        torch.testing.assert_close(sum_of_squares(x), (x * x).sum(0), rtol=1e-13, atol=1e-13)
    assert torch.equal(rows, before)
