from dataclasses import replace

import pytest
import torch

from qmcnet.compute.device import SIZES
from qmcnet.optimizers import gram
from qmcnet.optimizers.gram import add_folded, add_layer, add_rows, add_scores, layer_cross

SHAPES = [(7, 3, 5, 4), (7, 1, 5, 4), (1, 3, 5, 4), (5, 6, 2, 1), (70, 2, 3, 3)]


def random_layer(shape, offset=0.0, dtype=torch.float64):
    n_walkers, n_rows, n_in, n_out = shape
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n_walkers, n_rows, n_in, generator=generator, dtype=torch.float64) + offset
    signals = torch.randn(n_walkers, n_rows, n_out, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), signals.to(dtype)


def whole(add, n_walkers, *arguments):
    half = torch.zeros(n_walkers, n_walkers, dtype=torch.float64)
    add(half, *arguments)
    return half + half.mT


def exact(inputs, signals):
    scores = torch.einsum("bmo,bmi->boi", signals.double(), inputs.double()).flatten(1)
    return scores @ scores.mT


@pytest.mark.parametrize(("block", "piece"), [(1, 1), (150, 10), (2**20, 2**20)])
@pytest.mark.parametrize("add", [add_layer, add_rows, add_scores])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_are_those_of_the_scores(shape, add, block, piece, monkeypatch):
    monkeypatch.setitem(SIZES, "cpu", replace(SIZES["cpu"], block=block, piece=piece))
    inputs, signals = random_layer(shape, offset=2.0)
    result = whole(add, len(inputs), inputs, signals)
    torch.testing.assert_close(result, exact(inputs, signals), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("block", "piece"), [(1, 1), (150, 10), (2**20, 2**20)])
@pytest.mark.parametrize("row_by_row", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_between_some_walkers_and_others_are_those_of_the_scores(shape, row_by_row, block, piece, monkeypatch):
    monkeypatch.setitem(SIZES, "cpu", replace(SIZES["cpu"], block=block, piece=piece))
    monkeypatch.setattr(gram, "row_by_row", lambda *_: row_by_row)
    inputs, signals = random_layer(shape, offset=2.0)
    n_some = (len(inputs) + 1) // 3
    some, others = (inputs[:n_some], signals[:n_some]), (inputs[n_some:], signals[n_some:])
    expected = exact(inputs, signals)[:n_some, n_some:]
    torch.testing.assert_close(layer_cross(*some, *others), expected, rtol=1e-11, atol=1e-11)


def test_products_are_folded_over_any_number_of_factors():
    inputs, signals = random_layer((40, 3, 5, 4))
    factors = [inputs.transpose(0, 1), signals.transpose(0, 1), signals.transpose(0, 1) ** 2]
    rows = torch.ones(3, 40, 3, 40, dtype=torch.float64)
    for factor in factors:
        rows = rows * torch.einsum("mbf,ncf->mbnc", factor, factor)
    torch.testing.assert_close(whole(add_folded, 40, factors), rows.sum((0, 2)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        ((64, 2, 32, 32), "add_rows"),
        ((64, 6, 32, 32), "add_scores"),
        ((64, 40, 32, 32), "add_scores"),
        ((2, 12, 64, 64), "add_rows"),
    ],
)
def test_the_cheaper_way_is_taken(shape, way, monkeypatch):
    taken = []
    for name in ("add_rows", "add_scores"):
        monkeypatch.setattr(gram, name, lambda *_, name=name: taken.append(name))
    add_layer(torch.zeros(()), *random_layer(shape))
    assert taken == [way]


def test_signals_that_cancel_over_rows_keep_float32_precision():
    inputs, signals = random_layer((32, 8, 6, 64), offset=100.0, dtype=torch.float32)
    signals -= signals.mean(1, keepdim=True)
    expected = exact(inputs, signals)
    error = (whole(add_rows, 32, inputs, signals) - expected).norm() / expected.norm()
    uncentred = whole(add_folded, 32, [inputs.transpose(0, 1), signals.transpose(0, 1)])
    assert (uncentred - expected).norm() / expected.norm() > 1e-4
    assert error < 1e-5
