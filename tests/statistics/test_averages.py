"""Averages of local matrices by group and by time, and the errors they give, against known ones."""

import itertools
import math

import numpy as np
import pytest
import torch

from qmcnet.statistics.averages import N_BINS, N_GROUPS, Averages
from qmcnet.statistics.jackknife import jackknife

DOUBLE = torch.float64
B, S = 64, 3


def steps(count, n_walkers=B, seed=0):
    """Draw steps of random matrices of two observables with one and three components."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"energy": (n_walkers, 1, S, S), "dipole": (n_walkers, 3, S, S)}
    return [
        {name: torch.randn(shape, dtype=DOUBLE, generator=generator) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def averaged(series):
    averages = Averages()
    for step in series:
        averages.add(step)
    return averages


def total(series, name):
    return torch.stack([step[name] for step in series]).sum((0, 1)).numpy()


@pytest.mark.parametrize("count", [1, 2, 16, 17, 31, 33, 100, 1000])
def test_bins_lose_nothing(count):
    series = steps(count, 8)
    averages = averaged(series)
    sums = averages.sums()
    for name in ("energy", "dipole"):
        np.testing.assert_allclose(sums[name].sum(0), total(series, name), rtol=1e-10, atol=1e-10)
    assert averages.n_samples == sums["count"].sum() == 8 * count
    assert averages.n_states == S


@pytest.mark.parametrize(("count", "length"), [(16, 1), (17, 2), (32, 2), (33, 4), (64, 4), (65, 8), (1000, 64)])
def test_bins_double_their_length_when_there_are_enough_of_them(count, length):
    averages = averaged(steps(count, 2))
    lengths = [part["count"].sum().item() / 2 for part in averages.bins]
    assert lengths[:-1] == [length] * (len(lengths) - 1)
    assert 0 < lengths[-1] <= length
    assert sum(lengths) == count
    assert N_BINS / 2 < len(lengths) <= N_BINS


@pytest.mark.parametrize(("n_walkers", "n_groups"), [(1, 1), (5, 5), (32, 32), (64, 32), (100, 32)])
def test_groups_are_neighbouring_walkers_in_equal_shares(n_walkers, n_groups):
    series = steps(3, n_walkers)
    sums = averaged(series).sums()
    assert sums["energy"].shape == (n_groups, 1, S, S)
    assert sums["dipole"].shape == (n_groups, 3, S, S)
    assert sums["count"].min() >= 3 * (n_walkers // n_groups)
    assert sums["count"].max() <= 3 * math.ceil(n_walkers / n_groups)
    start = 0
    for group, count in enumerate(sums["count"] / 3):
        members = slice(start, start + int(count))
        expected = sum(step["energy"][members].sum(0) for step in series)
        np.testing.assert_allclose(sums["energy"][group], expected.numpy(), rtol=1e-12, atol=1e-12)
        start = members.stop
    assert start == n_walkers
    assert N_GROUPS == 32


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["energy", "dipole"])
def test_a_walker_that_is_not_finite_is_left_out_of_that_step_alone(bad, name):
    series = steps(4)
    averages = Averages()
    for step in series:
        averages.add(step)
    poisoned = [{key: value.clone() for key, value in step.items()} for step in series]
    poisoned[2][name][7, 0, 1, 2] = bad
    sums, expected = averaged(poisoned).sums(), averages.sums()
    assert sums["count"].sum() == 4 * B - 1
    for key in ("energy", "dipole"):
        difference = expected[key].sum(0) - series[2][key][7].numpy()
        np.testing.assert_allclose(sums[key].sum(0), difference, rtol=1e-10, atol=1e-10)


def test_a_group_without_a_sample_is_left_out():
    series = steps(2, 4)
    for step in series:
        step["energy"][1] = math.nan
    sums = averaged(series).sums()
    assert sums["count"].tolist() == [2, 2, 2]
    assert len(sums["energy"]) == len(sums["dipole"]) == 3
    figures, errors = jackknife(lambda means: means, sums)
    assert np.isfinite(figures["energy"]).all()
    assert np.isfinite(errors["energy"]).all()


@pytest.mark.parametrize(("count", "discarded", "left_out"), [(16, 0.25, 4), (16, 0.5, 8), (40, 0.5, 20), (1, 0.5, 0)])
def test_the_start_can_be_discarded(count, discarded, left_out):
    series = steps(count, 4)
    sums = averaged(series).sums(discarded)
    np.testing.assert_allclose(sums["dipole"].sum(0), total(series[left_out:], "dipole"), rtol=1e-10, atol=1e-10)
    assert sums["count"].sum() == 4 * (count - left_out)


@pytest.mark.parametrize(("discarded", "bounds"), [(0.0, (0, 8, 16)), (0.5, (8, 12, 16))])
def test_halves_are_averages_over_the_first_and_the_second_half(discarded, bounds):
    series = steps(16, 4)
    first, second = averaged(series).halves(discarded)
    for half, (start, stop) in zip((first, second), itertools.pairwise(bounds), strict=True):
        assert set(half) == {"energy", "dipole"}
        expected = total(series[start:stop], "dipole") / (4 * (stop - start))
        np.testing.assert_allclose(half["dipole"], expected, rtol=1e-10, atol=1e-10)


def test_a_single_bin_has_no_halves():
    assert averaged(steps(1)).halves() is None
    assert averaged(steps(2)).halves() is not None


def test_nothing_was_averaged():
    assert (Averages().n_samples, Averages().n_states) == (0, 1)


@pytest.mark.parametrize("count", [0, 1, 16, 21])
def test_a_saved_state_continues_to_the_last_bit(count, tmp_path):
    series = steps(50)
    whole, first = averaged(series), averaged(series[:count])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Averages()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), torch.device("cpu"))
    for step in series[count:]:
        second.add(step)
    assert len(second.bins) == len(whole.bins)
    for part, other in zip(second.bins, whole.bins, strict=True):
        assert part.keys() == other.keys()
        assert all(torch.equal(part[name], other[name]) for name in part)


def test_a_saved_state_is_not_changed_by_what_comes_after():
    series = steps(20)
    averages = averaged(series[:18])
    state = averages.state_dict()
    before = [part["energy"].clone() for part in state["bins"]]
    averages.add(series[18])
    assert all(torch.equal(part["energy"], old) for part, old in zip(state["bins"], before, strict=True))


def ratio(means):
    """Return a figure that is not linear in the averages."""
    matrix = means["energy"][0]
    return {"element": matrix[0, 1], "ratio": matrix[0, 1] / matrix[1, 1], "all": matrix}


def test_figures_are_those_of_the_averages():
    series = steps(9)
    figures, errors = jackknife(ratio, averaged(series).sums())
    mean = total(series, "energy")[0] / (9 * B)
    assert figures["ratio"] == pytest.approx(mean[0, 1] / mean[1, 1])
    np.testing.assert_allclose(figures["all"], mean)
    assert errors["all"].shape == (S, S)


def test_the_error_of_an_average_is_that_of_the_averages_of_groups():
    series = steps(9)
    errors = jackknife(ratio, averaged(series).sums())[1]
    by_walker = torch.stack([step["energy"] for step in series]).mean(0)[:, 0]  # (B, S, S)
    groups = by_walker.unflatten(0, (N_GROUPS, -1)).mean(1)
    np.testing.assert_allclose(errors["all"], (groups.std(0) / N_GROUPS**0.5).numpy(), rtol=1e-10)
    assert errors["element"] == pytest.approx(errors["all"][0, 1])


def test_a_single_group_has_figures_and_no_errors():
    figures, errors = jackknife(ratio, averaged(steps(5, 1)).sums())
    assert np.isfinite(figures["all"]).all()
    assert np.isnan(errors["all"]).all()
    assert errors["all"].shape == (S, S)
    assert np.isnan(errors["ratio"])


REPLICAS, LENGTH = 300, 40
MEAN = np.array([[-1.0, 0.5], [0.2, -0.4]])


def chains(rho, generator):
    """Draw matrices whose elements are stationary AR(1) chains of unit variance, independent by walker."""
    noise = torch.randn(LENGTH, B, 1, 2, 2, dtype=DOUBLE, generator=generator)
    series = [noise[0]]
    for fresh in noise[1:]:
        series.append(rho * series[-1] + (1 - rho**2) ** 0.5 * fresh)
    return [{"energy": values + torch.tensor(MEAN)} for values in series]


def elements(means):
    matrix = means["energy"][0]
    return {"all": matrix, "ratio": matrix[0, 1] / matrix[0, 0]}


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_errors_are_right_whatever_the_autocorrelation(rho):
    """Squared errors average to the variance, also to var(a) / b^2 + var(b) a^2 / b^4 of a / b, and deviations do."""
    generator = torch.Generator().manual_seed(3)
    lags = np.arange(1, LENGTH)
    variance = (1 + 2 * ((1 - lags / LENGTH) * rho**lags).sum()) / (LENGTH * B)
    assert variance * LENGTH * B > (10 if rho else 0)
    a, b = MEAN[0, 1], MEAN[0, 0]
    expected = {"all": variance, "ratio": variance / b**2 + variance * a**2 / b**4}
    exact = {"all": MEAN, "ratio": a / b}
    results = [jackknife(elements, averaged(chains(rho, generator)).sums()) for _ in range(REPLICAS)]
    for name, tolerance in {"all": 0.05, "ratio": 0.1}.items():
        squares = np.mean([errors[name] ** 2 for _, errors in results]) / expected[name]
        deviations = np.mean([(figures[name] - exact[name]) ** 2 for figures, _ in results]) / expected[name]
        assert squares == pytest.approx(1, abs=tolerance)
        assert deviations == pytest.approx(1, abs=3 * tolerance)
