import math
from dataclasses import replace

import pytest
import torch

from qmcnet.operators import LocalEnergy
from qmcnet.stages.fetch import fetch
from qmcnet.stages.stage import summarize


def energy(kinetic):
    dtype = torch.complex128 if any(isinstance(value, complex) for value in kinetic) else torch.float64
    kinetic = torch.tensor(kinetic, dtype=dtype)[:, None, None]
    one = torch.ones_like(kinetic)
    terms = {"kinetic": kinetic, "electron_nucleus": -2 * one, "electron_electron": one / 2, "nucleus_nucleus": one / 4}
    return LocalEnergy(terms, one)


def test_statistics_of_finite_energies():
    row = summarize(energy([1.0, 2.0, 6.0]))
    values = {name: float(value) for name, value in row.items()}
    assert values["energy"] == pytest.approx(3 - 1.25)
    assert values["variance"] == pytest.approx((4 + 1 + 9) / 3)
    assert (values["minimum"], values["maximum"]) == (1 - 1.25, 6 - 1.25)
    assert values["kinetic"] + values["potential"] == pytest.approx(values["energy"])
    assert values["nonfinite"] == 0


def test_statistics_of_complex_energies_are_those_of_their_real_parts():
    real, turned = energy([1.0, 2.0, 6.0]), energy([1.0 + 3.0j, 2.0 - 1.0j, 6.0 + 2.0j])
    assert turned.total.is_complex()
    (row,), (expected,) = fetch([summarize(turned)]), fetch([summarize(real)])
    assert row == expected


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_bad_walkers_are_counted_and_left_out(bad):
    good, mixed = summarize(energy([1.0, 2.0, 6.0])), summarize(energy([1.0, bad, 2.0, 6.0, bad]))
    assert int(mixed.pop("nonfinite")) == 2
    for name, value in mixed.items():
        assert float(value) == pytest.approx(float(good[name])), name


def test_when_all_are_lost_the_mean_is_not_finite():
    row = summarize(energy([math.nan, math.inf]))
    assert not math.isfinite(row["energy"])
    assert int(row["nonfinite"]) == 2


def states(matrices):
    kinetic = torch.arange(matrices.numel(), dtype=torch.float64).view(matrices.shape)
    one = torch.eye(matrices.shape[-1], dtype=torch.float64).expand_as(matrices)
    return LocalEnergy({"kinetic": kinetic, "rest": matrices - kinetic}, one)


@pytest.fixture
def matrices():
    return torch.randn(6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_matrix_of_one_state_is_its_energy():
    row = summarize(energy([1.0, 2.0]))
    assert row["state"].tolist() == [[row["energy"].item()]] == [[1.5 - 1.25]]


def test_several_states_have_a_mean_matrix(matrices):
    row = summarize(states(matrices))
    torch.testing.assert_close(row["state"], matrices.mean(0))
    assert float(row["state"].trace()) == pytest.approx(float(row["energy"]))


def test_the_mean_matrix_is_that_of_states_which_overlap(matrices):
    """<psi_j|psi_k>^-1 <psi_k|H|psi_l>, both as means."""
    overlap = torch.eye(3, dtype=torch.float64) + 0.1 * matrices.flip(0)
    row = summarize(replace(states(matrices), overlap=overlap))
    torch.testing.assert_close(overlap.mean(0) @ row["state"], matrices.mean(0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_matrices_of_bad_walkers_are_left_out(matrices, bad):
    matrices[[1, 4], 0] = bad
    row = summarize(states(matrices))
    torch.testing.assert_close(row["state"], matrices[[0, 2, 3, 5]].mean(0))
    assert int(row["nonfinite"]) == 2


def test_when_all_are_lost_the_matrix_is_not_finite(matrices):
    assert not summarize(states(matrices * math.nan))["state"].isfinite().any()
