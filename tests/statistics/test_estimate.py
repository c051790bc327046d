import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from qmcnet.statistics import series as series_module
from qmcnet.statistics.blocking import blocking
from qmcnet.statistics.estimate import estimate
from qmcnet.statistics.mixing import r_hat
from qmcnet.statistics.series import centred, moments
from qmcnet.statistics.stationarity import stationarity

N_SERIES = 150
CORRELATIONS = [0.0, 0.5, 0.9, 0.95]


def ar1(phi, n_steps, n_walkers, n_series=N_SERIES, seed=11):
    """Stationary AR(1) chains of unit variance and zero mean, (S, T, B)."""
    rng = np.random.default_rng(seed)
    chains = rng.standard_normal((n_steps, n_series, n_walkers))
    noise = math.sqrt(1.0 - phi**2)
    for step in range(1, n_steps):
        chains[step] *= noise
        chains[step] += phi * chains[step - 1]
    return np.moveaxis(chains, 1, 0)


def assert_covered(distance):
    """Whether distances in standard errors are within one and within 1.96 as often as chance lets them be."""
    for limit, share in ((1.0, 0.6827), (1.96, 0.95)):
        chance = math.sqrt(share * (1.0 - share) / len(distance))
        # The larger of two errors is a few percent too large with 32 walkers.
        assert -3.0 * chance < np.mean(distance < limit) - share < 3.0 * chance + 0.05 * (1.0 - share)


def tau_of(series):
    found = moments(centred(series))
    return found.mean_variance * series.size / found.variance


def exact_tau(phi):
    return (1.0 + phi) / (1.0 - phi)


# Every correlation, and every shape with a weak and a strong one.
@pytest.mark.parametrize(
    ("phi", "n_steps", "n_walkers"),
    [(0.0, 4096, 1), (0.95, 4096, 1), (0.5, 512, 16), (0.9, 512, 16), (0.0, 256, 32), (0.95, 256, 32)],
)
def test_normal_intervals_cover_their_nominal_share(phi, n_steps, n_walkers):
    results = [estimate(series) for series in ar1(phi, n_steps, n_walkers)]
    distance = np.array([abs(e.mean) / e.standard_error for e in results])
    assert_covered(distance)


@pytest.mark.parametrize("n_steps", [1, 4, 20])
def test_intervals_cover_with_many_walkers_even_when_the_chains_are_shorter_than_tau(n_steps):
    results = [estimate(series) for series in ar1(0.95, n_steps, 128)]
    distance = np.array([abs(e.mean) / e.standard_error for e in results])
    assert_covered(distance)
    assert not any(e.stationary for e in results)


@pytest.mark.parametrize("phi", [-0.5, *CORRELATIONS])
def test_tau_equals_closed_form_within_its_own_error(phi):
    n_steps, n_series = 4096, 100
    taus = [tau_of(series) for series in ar1(phi, n_steps, 8, n_series)]
    assert abs(np.mean(taus) - exact_tau(phi)) < np.std(taus)
    assert np.std(taus) < 0.15 * exact_tau(phi)


def test_error_tau_and_effective_samples_are_consistent():
    series = ar1(0.9, 4096, 4, n_series=1)[0]
    result = estimate(series)
    assert result.n_effective == pytest.approx(4096 * 4 / result.tau, rel=1e-12)
    assert result.standard_error == pytest.approx(math.sqrt(result.variance / result.n_effective), rel=1e-12)
    assert result.mean == pytest.approx(series.mean(), rel=1e-12)
    tau_of_squares = (1.0 + 0.9**2) / (1.0 - 0.9**2)
    assert result.variance == pytest.approx(1.0, abs=5.0 * math.sqrt(2.0 * tau_of_squares / series.size))
    assert (result.n_steps, result.n_walkers, result.reason) == (4096, 4, "")
    assert result.r_hat == r_hat(series)


def test_estimate_scales_with_the_unit_and_ignores_the_origin():
    series = ar1(0.5, 256, 8, n_series=1)[0]
    plain, moved = estimate(series), estimate(3.0 * series - 1000.0)
    assert moved.mean == pytest.approx(3.0 * plain.mean - 1000.0, rel=1e-13)
    assert moved.standard_error == pytest.approx(3.0 * plain.standard_error, rel=1e-9)
    assert moved.tau == pytest.approx(plain.tau, rel=1e-9)
    assert moved.r_hat == pytest.approx(plain.r_hat, rel=1e-9)


def test_error_of_one_step_is_that_of_independent_walkers():
    values = np.random.default_rng(0).standard_normal((1, 50))
    result = estimate(values)
    assert result.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50), rel=1e-12)
    assert result.tau == pytest.approx(1.0, rel=1e-12)


def test_stuck_walkers_give_the_error_between_walkers():
    levels = np.random.default_rng(0).standard_normal(40)
    result = estimate(np.tile(levels, (100, 1)))
    assert result.standard_error == pytest.approx(levels.std(ddof=1) / math.sqrt(40), rel=1e-9)
    assert result.n_effective == pytest.approx(40.0, rel=1e-9)
    assert result.r_hat > 1e6
    assert not result.stationary


def test_blocking_guards_against_dependent_walkers():
    chains = ar1(0.5, 512, 1, n_series=300)
    copies = [estimate(np.repeat(chain, 8, axis=1)) for chain in chains]
    distance = np.array([abs(e.mean) / e.standard_error for e in copies])
    assert np.mean(distance < 1.96) > 0.87
    assert np.median([e.n_effective for e in copies]) == pytest.approx(512 / exact_tau(0.5), rel=0.3)


def test_walker_chunks_give_the_same_autocorrelation(monkeypatch):
    series = ar1(0.9, 200, 7, n_series=1)[0]
    whole = tau_of(series)
    monkeypatch.setattr(series_module, "FFT_SAMPLES", 1024)
    assert tau_of(series) == pytest.approx(whole, rel=1e-12)


def test_anticorrelation_is_used_but_bounded():
    alternating = np.tile([1.0, -1.0], 500)
    tau = estimate(alternating).tau
    assert tau == pytest.approx(1.0 / math.log10(1000), rel=1e-2)
    assert estimate(alternating).standard_error > 0.0


def test_blocking_of_independent_samples_is_the_textbook_error():
    series = np.random.default_rng(1).standard_normal(4096)
    result = blocking(series)
    length, error, error_of_error = result.levels[0]
    assert (length, error) == (1, pytest.approx(series.std(ddof=1) / 64.0, rel=1e-12))
    assert error_of_error == pytest.approx(error / math.sqrt(2.0 * 4095.0), rel=1e-12)
    assert abs(result.standard_error - error) < 4.0 * result.error_of_error
    assert result.block_length == 32  # the first power of two above (2 T)^(1/3) = 20.2
    assert [level[0] for level in result.levels] == [2**k for k in range(10)]
    assert (result.block_length, result.standard_error, result.error_of_error) in result.levels


@pytest.mark.parametrize(("phi", "lowest"), [(0.0, 0.93), (0.5, 0.91), (0.9, 0.89)])
def test_blocking_finds_the_correlated_error_of_a_long_chain(phi, lowest):
    chains = ar1(phi, 4096, 1)[..., 0]
    results = [blocking(chain) for chain in chains]
    exact = math.sqrt(exact_tau(phi) / 4096)
    assert np.mean([b.standard_error for b in results]) == pytest.approx(exact, rel=0.07)
    covered = np.mean([abs(c.mean()) < 1.96 * b.standard_error for c, b in zip(chains, results, strict=True)])
    assert lowest < covered < 0.97
    assert np.median([b.block_length for b in results]) > exact_tau(phi)


def test_r_hat_is_near_one_for_mixed_chains_and_large_for_separated_ones():
    series = ar1(0.5, 2000, 16, n_series=1)[0]
    assert abs(r_hat(series) - 1.0) < 0.005
    assert r_hat(series + 0.5 * np.arange(16) / 15.0) < 1.05
    separated = series + np.repeat([0.0, 1.0], 8)
    assert r_hat(separated) == pytest.approx(math.sqrt(1.0 + 0.25), rel=0.02)
    assert "not mixed" in stationarity(separated).reason


def test_r_hat_splits_each_chain():
    drifting = ar1(0.0, 1000, 4, n_series=1)[0] + np.linspace(0.0, 2.0, 1000)[:, None]
    assert r_hat(drifting) > 1.1


@pytest.mark.parametrize(
    ("phi", "n_steps", "n_walkers"),
    [(0.9, 380, 32), (0.9, 380, 8), (0.0, 512, 32), (0.95, 4096, 1), (0.5, 60, 128)],
)
def test_stationary_series_are_accepted(phi, n_steps, n_walkers):
    verdicts = [stationarity(series) for series in ar1(phi, n_steps, n_walkers)]
    assert np.mean([not v.stationary for v in verdicts]) <= 0.02
    assert 0.9 < np.std([v.drift for v in verdicts]) < 1.4
    assert all(v.stationary == (v.reason == "") for v in verdicts)


@pytest.mark.parametrize(
    ("phi", "n_steps", "n_walkers", "sign"), [(0.9, 400, 32, -1.0), (0.95, 4096, 1, 1.0), (0.0, 512, 16, 1.0)]
)
def test_linear_drift_is_refused(phi, n_steps, n_walkers, sign):
    # the trend over the series is known to sqrt(12) standard errors of the mean, so five of these are 17.3
    slope = sign * 5.0 * math.sqrt(12.0 * exact_tau(phi) / (n_steps * n_walkers))
    drift = slope * np.linspace(-0.5, 0.5, n_steps)[:, None]
    verdicts = [stationarity(series + drift) for series in ar1(phi, n_steps, n_walkers, n_series=200)]
    assert np.mean(["drift" in v.reason and v.drift * sign > 0.0 for v in verdicts]) > 0.93


@pytest.mark.parametrize("bias", [4.0, 30.0, 3000.0])
def test_relaxation_that_biases_the_mean_is_refused(bias):
    n_steps, n_walkers = 512, 32
    relaxation = np.exp(-np.arange(n_steps) / 50.0)[:, None]
    relaxation *= bias * math.sqrt(exact_tau(0.5) / (n_steps * n_walkers)) / relaxation.mean()
    verdicts = [stationarity(series + relaxation) for series in ar1(0.5, n_steps, n_walkers, n_series=100)]
    assert np.mean(["drift" in v.reason and v.drift < 0.0 for v in verdicts]) > 0.95


def test_noiseless_drift_is_refused():
    assert "drift" in stationarity(np.arange(101.0)).reason
    assert "drift" in stationarity(np.linspace(0.0, -1.0, 1000)).reason


def test_short_series_are_refused_with_their_length():
    assert "too short: 3.1 autocorrelation times, 10 needed" in estimate(ar1(0.95, 100, 32, n_series=1)[0]).reason
    verdict = stationarity(np.random.default_rng(0).standard_normal((9, 100)))
    assert not verdict.stationary
    assert verdict.reason == "too short: 9 steps, at least 10 needed"
    assert math.isnan(verdict.drift)


@pytest.mark.parametrize("shape", [(100,), (100, 1), (101, 4)])
def test_constant_series_is_exact(shape):
    result = estimate(np.full(shape, 0.1))
    assert result.mean == pytest.approx(0.1, rel=1e-14)
    assert (result.standard_error, result.variance) == (0.0, 0.0)
    assert (result.tau, result.r_hat, result.stationary) == (1.0, 1.0, True)
    assert result.n_effective == math.prod(shape)
    assert not blocking(np.full(100, 0.1)).standard_error
    json.dumps(asdict(result), allow_nan=False)


def test_one_dimensional_series_is_one_walker():
    series = ar1(0.5, 300, 1, n_series=1)[0]
    assert estimate(series[:, 0]) == estimate(series)
    assert estimate(series[:, 0].tolist()) == estimate(series)


@pytest.mark.parametrize("shape", [(2,), (3,), (2, 2), (3, 2), (5, 1), (1, 2)])
def test_tiny_series_give_a_finite_error_and_are_refused(shape):
    result = estimate(np.random.default_rng(3).standard_normal(shape))
    assert 0.0 < result.standard_error < math.inf
    assert 0.0 < result.tau < math.inf
    assert not result.stationary
    assert math.isnan(result.r_hat) == (shape[0] < 4)


def test_input_is_not_changed():
    series = ar1(0.5, 64, 4, n_series=1)[0].copy()
    before = series.copy()
    estimate(series)
    assert np.array_equal(series, before)


@pytest.mark.parametrize("function", [estimate, stationarity, r_hat])
def test_bad_series_are_named(function):
    series = np.zeros((10, 3))
    series[4, 1], series[7, 2] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 samples are not, the first at \[4, 1\]"):
        function(series)
    for shape in [(), (1,), (0, 5), (1, 1), (2, 2, 2)]:
        with pytest.raises(ValueError, match="series has shape"):
            function(np.zeros(shape))


def test_blocking_takes_one_chain():
    with pytest.raises(ValueError, match="average over walkers"):
        blocking(np.zeros((10, 2)))
