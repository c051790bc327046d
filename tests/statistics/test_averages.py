"""Averages of local matrices by group and by time, and the errors they give, against known ones."""

import itertools
import math

import numpy as np
import pytest
import torch

from qmcnet.statistics.averages import N_GROUPS, Averages, count_of, from_series
from qmcnet.statistics.jackknife import jackknife, student

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


@pytest.mark.parametrize("count", [1, 2, 64, 65, 127, 129, 1000])
def test_bins_lose_nothing(count):
    series = steps(count, 8)
    averages = averaged(series)
    groups = averages.groups()
    for name in ("energy", "dipole"):
        np.testing.assert_allclose(groups[name].sum(0), total(series, name), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(averages.means()[name], total(series, name) / (8 * count), rtol=1e-9, atol=1e-10)
    assert groups["count"].sum() == groups["count of dipole"].sum() == 8 * count
    assert averages.n_states == S


@pytest.mark.parametrize(("n_walkers", "n_groups"), [(1, 1), (5, 5), (32, 32), (64, 32), (100, 32)])
def test_groups_are_neighbouring_walkers_in_equal_shares(n_walkers, n_groups):
    series = steps(3, n_walkers)
    sums = averaged(series).groups()
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
def test_a_bad_energy_takes_all_with_it_and_a_bad_dipole_itself_alone(bad, name):
    series = steps(4)
    poisoned = [{key: value.clone() for key, value in step.items()} for step in series]
    poisoned[2][name][7, 0, 1, 2] = bad
    averages = Averages()
    finite = [averages.add(step) for step in poisoned]
    assert [mask.sum().item() for mask in finite] == [B, B, B - (name == "energy"), B]
    sums, expected = averages.groups(), averaged(series).groups()
    for key in ("energy", "dipole"):
        left_out = key == name or name == "energy"
        assert sums[count_of(key)].sum() == 4 * B - left_out
        difference = expected[key].sum(0) - left_out * series[2][key][7].numpy()
        np.testing.assert_allclose(sums[key].sum(0), difference, rtol=1e-10, atol=1e-10)


def test_chains_are_means_of_every_walker_in_full_bins():
    series = steps(130, 4)  # 33 bins of 4 steps, of which the last has 2
    series[5]["energy"][1] = math.nan
    for step in series[8:12]:
        step["energy"][2] = math.nan
    averages = averaged(series)
    found = averages.chains(4)["energy"]
    energies = torch.stack([step["energy"][:, 0] for step in series])
    assert found.shape == (31, 4, S, S)
    np.testing.assert_allclose(found[0, 1], energies[[4, 6, 7], 1].mean(0).numpy(), atol=1e-12)
    np.testing.assert_allclose(found[1, 2], averages.means(4)["energy"][0], atol=1e-12)  # without a sample
    np.testing.assert_allclose(found[-1], energies[124:128].mean(0).numpy(), atol=1e-12)


def test_energies_far_from_the_median_of_their_step_are_counted():
    generator = torch.Generator().manual_seed(0)
    energies = torch.rand(20, B, dtype=DOUBLE, generator=generator) - 70
    energies[3, 4], energies[9, 1], energies[9, 2] = -80, -60, math.nan
    averages = averaged([{"energy": step[:, None, None, None]} for step in energies])
    totals = averages.totals()
    assert (totals["far_out"], totals["offered"], totals["count"]) == (2, 20 * B, 20 * B - 1)
    kept = energies[energies.isfinite()]
    expected = (kept - averages.origin).square().sum().item()
    assert totals["square"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("count", "discarded"), [(16, 4), (16, 8), (100, 50), (1000, 512), (1, 0)])
def test_the_start_can_be_discarded(count, discarded):
    series = steps(count, 4)
    sums = averaged(series).groups(discarded)
    np.testing.assert_allclose(sums["dipole"].sum(0), total(series[discarded:], "dipole"), rtol=1e-10, atol=1e-10)
    assert sums["count"].sum() == 4 * (count - discarded)


@pytest.mark.parametrize(("discarded", "bounds"), [(0, (0, 8, 16)), (8, (8, 12, 16))])
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


@pytest.mark.parametrize("count", [0, 1, 16, 21])
def test_a_saved_state_continues_to_the_last_bit(count, tmp_path):
    series = steps(50)
    whole, first = averaged(series), averaged(series[:count])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = Averages()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), torch.device("cpu"))
    for step in series[count:]:
        second.add(step)
    assert len(second.bins.parts) == len(whole.bins.parts)
    for part, other in zip(second.bins.parts, whole.bins.parts, strict=True):
        assert part.keys() == other.keys()
        assert all(torch.equal(part[name], other[name]) for name in part)


def earlier_state(series):
    """Averages and local energies as version 0.1.0 saved them."""
    groups = torch.arange(B) * N_GROUPS // B
    state = {"bins": [], "steps_per_bin": 4, "steps_in_last": len(series) % 4 or 4}
    for start in range(0, len(series), 4):
        part = {"count": torch.zeros(N_GROUPS, dtype=DOUBLE)}
        for step in series[start : start + 4]:
            part["count"] += torch.bincount(groups).double()
            for name, values in step.items():
                empty = torch.zeros(N_GROUPS, *values.shape[1:], dtype=DOUBLE)
                part[name] = part.get(name, empty).index_add(0, groups, values)
        state["bins"].append(part)
    trace = torch.stack([step["energy"][:, 0].diagonal(dim1=-2, dim2=-1).sum(-1) for step in series])
    return state, trace


def test_averages_of_version_0_1_continue():
    series = steps(100)
    continued, whole = Averages(), averaged(series)
    continued.load_state_dict(from_series(*earlier_state(series[:50])), torch.device("cpu"))
    for step in series[50:]:
        continued.add(step)
    found, expected = continued.totals(), whole.totals()
    assert found.keys() == expected.keys()
    for name in ("energy", "dipole", "count", "count of dipole", "offered", "far_out"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, atol=1e-9 + 8 * (name == "far_out"))
    squares = [totals["square"] for totals in (found, expected)]
    traces = np.trace(whole.means()["energy"][0])
    assert squares[0] / 6400 - (traces - float(continued.origin)) ** 2 == pytest.approx(
        squares[1] / 6400 - (traces - float(whole.origin)) ** 2, rel=1e-9
    )
    for name in ("energy", "dipole"):
        np.testing.assert_allclose(continued.groups()[name], whole.groups()[name], atol=1e-10)


def test_a_saved_state_is_not_changed_by_what_comes_after():
    series = steps(20)
    averages = averaged(series[:18])
    state = averages.state_dict()
    before = {name: sums.clone() for name, sums in state["bins"].items()}
    averages.add(series[18])
    assert {"energy", "count"} <= before.keys()
    assert all(torch.equal(state["bins"][name], old) for name, old in before.items())


def ratio(means):
    """Return a figure that is not linear in the averages."""
    matrix = means["energy"][0]
    return {"element": matrix[0, 1], "ratio": matrix[0, 1] / matrix[1, 1], "all": matrix}


def test_figures_are_those_of_the_averages():
    series = steps(9)
    figures, errors = jackknife(ratio, averaged(series).groups())
    mean = total(series, "energy")[0] / (9 * B)
    assert figures["ratio"] == pytest.approx(mean[0, 1] / mean[1, 1])
    np.testing.assert_allclose(figures["all"], mean)
    assert errors["all"].shape == (S, S)


def test_the_error_of_an_average_is_that_of_the_averages_of_groups():
    series = steps(9)
    errors = jackknife(ratio, averaged(series).groups())[1]
    by_walker = torch.stack([step["energy"] for step in series]).mean(0)[:, 0]  # (B, S, S)
    groups = by_walker.unflatten(0, (N_GROUPS, -1)).mean(1)
    expected = student(N_GROUPS - 1) * groups.std(0) / N_GROUPS**0.5
    np.testing.assert_allclose(errors["all"], expected.numpy(), rtol=1e-10)
    assert errors["element"] == pytest.approx(errors["all"][0, 1])


def test_errors_of_few_groups_are_those_of_student():
    # Quantiles of Student's distribution at the normal share of one standard deviation, 0.8413447.
    exact = {1: 1.8367, 2: 1.3213, 3: 1.1969, 7: 1.0767, 31: 1.01640}
    for freedom, quantile in exact.items():
        assert student(freedom) == pytest.approx(quantile, abs=0.7 * freedom**-4 * 0.05 + 5e-5)


@pytest.mark.parametrize("n_walkers", [2, 3, 5])
def test_errors_of_few_walkers_cover_their_share(n_walkers):
    # Components of an observable are replicas of one another, which one set of averages takes at once.
    count, generator = 10_000, torch.Generator().manual_seed(4)
    replicas = torch.randn(n_walkers, count, 1, 1, dtype=DOUBLE, generator=generator)
    sums = averaged([{"energy": replicas[:, :1], "replicas": replicas}]).groups()
    values, errors = jackknife(lambda means: {"replicas": means["replicas"]}, sums)
    distance = abs(values["replicas"]) / errors["replicas"]
    assert np.mean(distance < 1) == pytest.approx(0.6827, abs=3.5 * (0.68 * 0.32 / count) ** 0.5)


def test_a_single_group_has_figures_and_no_errors():
    figures, errors = jackknife(ratio, averaged(steps(5, 1)).groups())
    assert np.isfinite(figures["all"]).all()
    assert np.isnan(errors["all"]).all()
    assert errors["all"].shape == (S, S)
    assert np.isnan(errors["ratio"])


REPLICAS, LENGTH = 300, 40
MEAN = np.array([[-1.0, 0.5], [0.2, -0.4]])


def chains(rho, generator):
    """Draw replicas of matrices whose elements are stationary AR(1) chains of unit variance, independent by walker."""
    noise = torch.randn(LENGTH, B, REPLICAS, 2, 2, dtype=DOUBLE, generator=generator)
    series = [noise[0]]
    for fresh in noise[1:]:
        series.append(rho * series[-1] + (1 - rho**2) ** 0.5 * fresh)
    return [{"energy": values[:, :1], "replicas": values + torch.tensor(MEAN)} for values in series]


def elements(means):
    matrices = means["replicas"]
    return {"all": matrices, "ratio": matrices[:, 0, 1] / matrices[:, 0, 0]}


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
    figures, errors = jackknife(elements, averaged(chains(rho, generator)).groups())
    for name, tolerance in {"all": 0.05, "ratio": 0.1}.items():
        squares = np.mean(errors[name] ** 2) / expected[name] / student(N_GROUPS - 1) ** 2
        deviations = np.mean((figures[name] - exact[name]) ** 2) / expected[name]
        assert squares == pytest.approx(1, abs=tolerance)
        assert deviations == pytest.approx(1, abs=3 * tolerance)
