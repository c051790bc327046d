import math

import pytest
import torch

from qmcnet.operators import LocalEnergy
from qmcnet.stages.stage import summarize


def energy(kinetic):
    kinetic = torch.tensor(kinetic, dtype=torch.float64)
    attraction, repulsion = -2 * torch.ones_like(kinetic), torch.ones_like(kinetic) / 2
    return LocalEnergy(kinetic, attraction, repulsion, 0.25)


def test_statistics_of_finite_energies():
    row = summarize(energy([1.0, 2.0, 6.0]))
    values = {name: float(value) for name, value in row.items()}
    assert values["energy"] == pytest.approx(3 - 1.25)
    assert values["variance"] == pytest.approx((4 + 1 + 9) / 3)
    assert (values["minimum"], values["maximum"]) == (1 - 1.25, 6 - 1.25)
    assert values["kinetic"] + values["potential"] == pytest.approx(values["energy"])
    assert values["nonfinite"] == 0


def test_statistics_of_complex_energies_are_those_of_their_real_parts():
    real, turned = energy([1.0, 2.0, 6.0]), energy([1.0, 2.0, 6.0])
    turned = LocalEnergy(turned.kinetic + 1j * torch.tensor([3.0, -1.0, 2.0]), *list(vars(turned).values())[1:])
    assert turned.total.is_complex()
    for name, value in summarize(turned).items():
        assert not value.is_complex(), name
        assert torch.equal(value, summarize(real)[name]), name


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
    kinetic = torch.arange(len(matrices), dtype=torch.float64)
    rest = matrices.diagonal(dim1=1, dim2=2).sum(-1) - kinetic
    return LocalEnergy(kinetic, rest, torch.zeros_like(kinetic), 0.0, matrices, matrices)


@pytest.fixture
def matrices():
    return torch.randn(6, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_one_state_has_no_matrix():
    assert "state" not in summarize(energy([1.0, 2.0]))


def test_several_states_have_a_mean_matrix(matrices):
    row = summarize(states(matrices))
    torch.testing.assert_close(row["state"], matrices.mean(0))
    assert float(row["state"].trace()) == pytest.approx(float(row["energy"]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_matrices_of_bad_walkers_are_left_out(matrices, bad):
    matrices[[1, 4], 0] = bad
    row = summarize(states(matrices))
    torch.testing.assert_close(row["state"], matrices[[0, 2, 3, 5]].mean(0))
    assert int(row["nonfinite"]) == 2


def test_when_all_are_lost_the_matrix_is_not_finite(matrices):
    assert not summarize(states(matrices * math.nan))["state"].isfinite().any()
