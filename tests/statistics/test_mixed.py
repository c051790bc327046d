import numpy as np
import pytest

from qmcnet.statistics.extrapolation import amplification, to_zero
from qmcnet.statistics.mixed import equilibrated, mixed, pooled, reweighting


def test_factors_are_products_of_the_weights_in_the_window():
    logs = np.random.default_rng(0).normal(size=12)
    products = np.array([np.exp(logs[max(0, k - 3) : k + 1].sum()) for k in range(12)])
    np.testing.assert_allclose(reweighting(logs, 4), products / products.mean(), rtol=1e-12)
    np.testing.assert_array_equal(reweighting(logs, 0), np.ones(12))


def test_large_weights_do_not_overflow():
    assert np.isfinite(reweighting(np.full(5000, 3.0), 5000)).all()


def test_the_mean_is_weighted_and_constants_have_no_error():
    values, logs = np.arange(40.0), np.log(np.where(np.arange(40) % 2, 3.0, 1.0))
    assert mixed(values, logs, 1).mean == pytest.approx(np.average(values, weights=np.exp(logs)))
    constant = mixed(np.full(40, -0.5), logs, 7)
    assert (constant.mean, constant.standard_error) == (-0.5, 0.0)


def autoregressive(rng, n, decay):
    noise = rng.normal(size=n)
    for k in range(1, n):
        noise[k] = decay * noise[k - 1] + np.sqrt(1 - decay**2) * noise[k]
    return noise


def test_errors_know_that_generations_descend_from_one_another():
    """Of an autoregressive series tau is (1 + decay) / (1 - decay); here 19."""
    rng, errors, means = np.random.default_rng(1), [], []
    for _ in range(100):
        found = mixed(autoregressive(rng, 2000, 0.9), np.zeros(2000), 10)
        errors.append(found.standard_error)
        means.append(found.mean)
    exact = np.sqrt(19 / 2000)
    assert np.mean(errors) == pytest.approx(exact, rel=0.1)
    assert np.std(means) == pytest.approx(exact, rel=0.25)


def test_what_comes_before_equilibrium_is_left_out():
    rng = np.random.default_rng(2)
    values = 0.1 * autoregressive(rng, 1600, 0.5) + 3 * np.exp(-np.arange(1600) / 40)
    discarded, found = equilibrated(values, np.zeros(1600), 0)
    assert 200 <= discarded <= 800
    assert found.stationary
    assert abs(found.mean) < 4 * found.standard_error
    assert equilibrated(values[800:], np.zeros(800), 0)[0] == 0


@pytest.mark.parametrize("order", [1, 2])
def test_polynomials_are_found_again(order):
    places = [0.04, 0.02, 0.01, 0.005]
    values = [-14.6 + 0.3 * t + (40 * t**2 if order == 2 else 0) for t in places]
    found = to_zero(places, values, [1e-5] * 4)
    assert (found.order, found.freedom) == (order, 3 - order)
    assert found.value == pytest.approx(-14.6, abs=1e-9)
    assert found.chi2 == pytest.approx(0, abs=1e-6)


def test_two_points_make_a_line_and_errors_add_up():
    found = to_zero([0.02, 0.01], [1.2, 1.1], [0.03, 0.01])
    assert (found.value, found.order, found.freedom) == (pytest.approx(1.0), 1, 0)
    assert found.error == pytest.approx(np.hypot(2 * 0.01, 0.03))
    assert amplification([0.02, 0.01]) == pytest.approx(np.sqrt(5))
    assert amplification([0.01]) == 1


def test_errors_and_chi_squared_are_those_of_many_fits():
    rng, places, errors = np.random.default_rng(3), [0.03, 0.02, 0.01, 0.005], [0.02, 0.01, 0.03, 0.02]
    fits = [to_zero(places, rng.normal(-2, errors), errors) for _ in range(2000)]
    lines = [fit for fit in fits if fit.order == 1]
    assert len(lines) / len(fits) == pytest.approx(0.95, abs=0.02)
    assert np.std([fit.value for fit in lines]) == pytest.approx(lines[0].error, rel=0.06)
    assert np.mean([fit.chi2 for fit in fits if fit.order == 1]) < 2


def test_series_are_pooled_by_their_lengths():
    random = np.random.default_rng(3)
    parts = [mixed(random.normal(size=length), np.zeros(length), 0) for length in (400, 1600)]
    found = pooled(parts)
    assert found.mean == pytest.approx(0.2 * parts[0].mean + 0.8 * parts[1].mean)
    assert found.standard_error == pytest.approx(np.hypot(0.2 * parts[0].standard_error, 0.8 * parts[1].standard_error))
    assert found.n_steps == 2000


def test_series_that_drift_do_not_count_beside_others():
    drifting = mixed(np.linspace(0, 5, 400), np.zeros(400), 0)
    steady = mixed(np.random.default_rng(4).normal(size=400), np.zeros(400), 0)
    assert not drifting.stationary
    assert pooled([drifting, steady]).mean == steady.mean
    assert not pooled([drifting]).stationary


def test_what_is_left_out_at_the_start_in_any_case_is_left_out_of_series_that_are_long_enough():
    series = np.random.default_rng(3).normal(size=400)
    assert [equilibrated(series, np.zeros(400), 10, least)[0] for least in (0, 90, 300)] == [0, 90, 200]
