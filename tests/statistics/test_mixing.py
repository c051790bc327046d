"""Whether walkers sample one distribution, on series that do and on series that do not."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from qmcnet.statistics.estimate import estimate
from qmcnet.statistics.mixing import mixing, normal_scores, r_hat
from qmcnet.statistics.stationarity import stationarity

T, B = 400, 256


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def chains(rng, tau, n_steps=T, n_walkers=B):
    """Stationary AR(1) chains of unit variance and zero mean, (T, B)."""
    phi = (tau - 1) / (tau + 1)
    found = rng.standard_normal((n_steps, n_walkers))
    for step in range(1, n_steps):
        found[step] = phi * found[step - 1] + math.sqrt(1 - phi**2) * found[step]
    return found


def heavy(rng, tau, n_steps=T, n_walkers=B):
    """Chains with the moments of Student's distribution with three degrees of freedom."""
    squares = sum(chains(rng, tau, n_steps, n_walkers) ** 2 for _ in range(3))
    return chains(rng, tau, n_steps, n_walkers) / np.sqrt(squares / 3)


HALF = np.arange(B) % 2


def test_walkers_stuck_higher_are_refused(rng):
    series = -70 + 0.3 * chains(rng, 1.0) + 0.2 * HALF
    assert 1.04 < r_hat(series) < 1.1  # below the old limit
    assert "walkers have not mixed: R-hat" in stationarity(series).reason


@pytest.mark.parametrize(
    "changed",
    [
        lambda rng: chains(rng, 3.0) * (1 + 0.1 * HALF),
        lambda rng: np.where(HALF, chains(rng, 1.0), heavy(rng, 1.0) / math.sqrt(3)),
        lambda rng: heavy(rng, 1.0) + 0.2 * HALF,
        lambda rng: chains(rng, 3.0) + 5.0 * (np.arange(B) == 7),
        lambda rng: math.sqrt(0.9975) * chains(rng, 1.0) + math.sqrt(0.0025) * chains(rng, T - 1),
    ],
    ids=["wider", "heavier tails", "stuck in heavy tails", "one walker far off", "a slow mode of 0.25 %"],
)
def test_walkers_that_differ_are_refused(changed, rng):
    assert "mixed" in stationarity(changed(rng)).reason


def test_means_alone_do_not_tell_scales_apart(rng):
    place, scale = mixing(chains(rng, 1.0, 200) * (1 + 0.5 * HALF))
    assert place.r_hat < place.limit
    assert scale.r_hat > scale.limit


@pytest.mark.parametrize("draw", [chains, heavy])
@pytest.mark.parametrize(
    ("tau", "n_steps", "n_walkers"), [(1.0, 64, 64), (2.0, 64, 16), (3.0, 64, 64), (1.0, 40, 4), (3.0, 300, 2)]
)
def test_walkers_of_one_distribution_are_accepted(draw, tau, n_steps, n_walkers):
    rng = np.random.default_rng(5)
    count = 60
    refused = sum(
        any(found.r_hat > found.limit for found in mixing(draw(rng, tau, n_steps, n_walkers))) for _ in range(count)
    )
    assert refused <= 3  # more with a probability of 0.3 % where the rate is 1 %


def test_the_limit_follows_from_the_autocorrelation_time(rng):
    for tau in (1.0, 9.0):
        place = mixing(chains(rng, tau, 1000, 128))[0]
        expected = 2 * tau / 1000
        assert place.r_hat**2 - 1 + 2 / 1000 == pytest.approx(expected, rel=0.3)
        assert 1.1 * expected < place.limit**2 - 1 + 2 / 1000 < 1.6 * expected


def test_ranks_do_not_know_the_unit_of_a_series(rng):
    series = chains(rng, 3.0, 100, 8)
    assert mixing(np.exp(series))[0] == mixing(series)[0]


def test_normal_scores_of_a_few_numbers():
    low, high = (NormalDist().inv_cdf((rank - 0.375) / 4.25) for rank in (1, 2))
    scores = normal_scores(np.array([[3.0, -1e9], [1e9, 2.0]]))
    np.testing.assert_allclose(scores, np.array([[-high, low], [-low, high]]), rtol=1e-9)
    assert normal_scores(np.array([1.0, 1.0, 1.0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_mode_of_small_share_is_in_the_error(seed):
    """Its autocorrelation, 0.0025, drowns in the noise of 128 walkers and 1000 steps, and Geyer's window ends early."""
    rng, share, phi, n_steps, n_walkers = np.random.default_rng(seed), 0.0025, 0.999, 1000, 128
    fast, slow = rng.standard_normal((n_steps, n_walkers)), chains(rng, (1 + phi) / (1 - phi), n_steps, n_walkers)
    lags = np.arange(1, n_steps)
    of_slow = (1 + 2 * ((1 - lags / n_steps) * phi**lags).sum()) / n_steps  # variance of its mean over time
    exact = math.sqrt(((1 - share) / n_steps + share * of_slow) / n_walkers)
    result = estimate(math.sqrt(1 - share) * fast + math.sqrt(share) * slow)
    assert result.standard_error == pytest.approx(exact, rel=4 / math.sqrt(2 * (n_walkers - 1)))
    assert abs(result.mean) < 4 * exact
