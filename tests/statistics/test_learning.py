"""The curve of a training, and the line from it to the energy of an exact state."""

import math

import numpy as np
import pytest
import torch

from qmcnet.statistics.learning import MOST_BINS, LearningCurve, distance_of
from qmcnet.statistics.zero_variance import SYSTEMATIC, Slope, expected, fit, steps_for

SLOPE = expected(20.0)


def trained(energies, variances):
    curve = LearningCurve()
    for energy, variance in zip(energies, variances, strict=True):
        curve.add(torch.tensor(energy), torch.tensor(variance))
    return curve


def falling(n_steps, slope, noise, seed=0):
    """Energies of 256 walkers whose variance falls from 0.5 to 0.15, and the last variance."""
    rng = np.random.default_rng(seed)
    variances = 0.15 + 0.35 * np.exp(-4 * np.arange(n_steps) / n_steps)
    energies = -37.845 + slope * variances + noise * np.sqrt(variances / 256) * rng.normal(size=n_steps)
    return energies, variances


@pytest.mark.parametrize("n_steps", [40, 700])
def test_points_are_the_means_of_the_late_steps_however_many_there_are(n_steps):
    variances = np.linspace(1.0, 0.1, n_steps)
    curve = trained(-1 + 0.3 * variances, variances)
    points = curve.look().points()
    assert len(curve.bins.parts) <= MOST_BINS
    assert points.energies == pytest.approx((-1 + 0.3 * np.array(points.variances)).tolist(), abs=2e-3)
    assert points.variances[0] == pytest.approx(0.64, abs=0.08)
    assert points.variances[-1] == pytest.approx(0.13, abs=0.05)


def test_errors_of_points_are_those_of_independent_steps():
    pulls = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        points = trained(rng.normal(size=256) * 0.02 + 5, np.full(256, 0.1)).look().points()
        pulls += ((np.array(points.energies) - 5) / points.errors).tolist()
    assert np.std(pulls) == pytest.approx(1, abs=0.2)


def test_one_wild_walker_moves_no_point_and_no_variance():
    energies, variances = falling(500, 0.05, 1.0)
    plain = trained(energies, variances).look().points()
    energies[400], variances[400] = 50.0, 1e5
    wild = trained(energies, variances).look().points()
    assert wild.energies == pytest.approx(plain.energies, abs=3 * max(plain.errors))  # a plain mean moves by 100
    assert wild.variances == pytest.approx(plain.variances, rel=0.05)  # and the mean variance by a factor of 10^4


def test_an_exact_state_has_no_distance():
    points = trained([-0.5] * 100, [0.0] * 100).look().points()
    assert distance_of(points, SLOPE) == pytest.approx(0, abs=1e-12)


def test_too_few_steps_give_no_points_and_a_saved_curve_continues():
    assert trained([1.0] * 20, [1.0] * 20).look().points().energies == []
    assert math.isnan(LearningCurve().look().typical_variance)
    energies, variances = falling(700, 0.05, 1.0)
    half, whole = trained(energies[:333], variances[:333]), trained(energies, variances)
    resumed = LearningCurve()
    resumed.load_state_dict(half.state_dict(), torch.device("cpu"))
    for energy, variance in zip(energies[333:], variances[333:], strict=True):
        resumed.add(torch.tensor(energy), torch.tensor(variance))
    assert resumed.look().points() == whole.look().points()
    assert (
        resumed.look().typical_variance
        == whole.look().typical_variance
        == pytest.approx(np.exp(np.log(variances).mean()))
    )


def test_a_line_without_noise_is_trusted_as_much_as_what_is_known_of_slopes():
    variances = [0.5, 0.3, 0.2, 0.15]
    energies = [-1 + 0.2 * variance for variance in variances]
    found = fit(energies, [1e-6] * 4, variances, Slope(0.05, SYSTEMATIC))
    assert found.median == pytest.approx(0.1, rel=0.01)  # the geometric mean of 0.05 and 0.2
    assert found.spread == pytest.approx(SYSTEMATIC / 2**0.5, rel=0.01)
    assert fit([-1.0], [1e-6], [0.3], SLOPE) == SLOPE
    assert fit(energies, [10.0] * 4, variances, SLOPE).median == pytest.approx(SLOPE.median, rel=0.01)


def test_a_distance_has_an_interval_of_80_percent():
    middle, lower, upper = Slope(0.1, 0.5).distance(0.2)
    assert middle == pytest.approx(0.02)
    samples = 0.02 * np.exp(0.5 * np.random.default_rng(0).normal(size=40_000))
    assert np.mean(samples > upper) == pytest.approx(0.1, abs=0.006)
    assert np.mean(samples < lower) == pytest.approx(0.1, abs=0.006)


@pytest.mark.parametrize("noise", [1.2, 0.1])
def test_the_stated_interval_covers_the_true_distance(noise):
    rng, covered, ratios, last = np.random.default_rng(1), 0, [], 0.15 + 0.35 * math.exp(-4)
    for seed in range(60):
        slope = SLOPE.median * math.exp(SLOPE.spread * rng.normal())
        points = trained(*falling(64, slope * math.exp(SYSTEMATIC * rng.normal()), noise, seed)).look().points()
        found = fit(*points, SLOPE)
        ratios.append(math.log(found.median / slope))
        _, lower, upper = found.distance(last)
        covered += lower <= slope * last <= upper
    assert 39 <= covered <= 57  # 48(3) of 60
    assert abs(np.mean(ratios)) < 4 * np.std(ratios) / 60**0.5


def test_points_that_scatter_more_than_their_errors_say_less():
    variances, pattern = np.linspace(0.5, 0.15, 9), np.array([1, -1, 1, -1, 1, -1, 1, -1, 1])
    energies = -1 + 0.1 * variances
    sure = fit(energies, [1e-3] * 9, variances, Slope(0.02, 1.0))
    unsure = fit(energies + 0.02 * pattern, [1e-3] * 9, variances, Slope(0.02, 1.0))
    assert 0.02 < unsure.median < 0.9 * sure.median
    assert unsure.spread > 1.1 * sure.spread


@pytest.mark.parametrize(
    ("distance", "steps", "expected"), [(3.2e-3, 800, 3200), (2.4e-3, 800, 1800), (1.0, 777, 3200), (1.7e-3, 100, 130)]
)
def test_steps_follow_from_the_law(distance, steps, expected):
    assert steps_for(1.6e-3, distance, steps) == expected
