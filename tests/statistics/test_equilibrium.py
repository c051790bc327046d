"""Simulated walkers: how soon they are taken for relaxed, and how far they are from it then.

Biases are in standard errors of the mean over walkers of one sweep.
"""

import math

import pytest
import torch

from qmcnet.statistics.equilibrium import drift, equilibrated, looks

SWEEPS, WALKERS, RUNS = 200, 128, 100
AT = looks(20, SWEEPS)


def walkers(biases=(), slow_share=0.0, slow=1.0, fast=2.0, seed=0):
    """Draw runs of autoregressive walkers in equilibrium and add biases (size, tau) that decay, (RUNS, T, B)."""
    generator = torch.Generator().manual_seed(seed)
    series = torch.zeros(RUNS, SWEEPS, WALKERS, dtype=torch.float64)
    for share, tau in ((1 - slow_share, fast), (slow_share, slow)):
        phi, noise = math.exp(-1 / tau), torch.randn(SWEEPS, RUNS, WALKERS, generator=generator, dtype=torch.float64)
        value = noise[0]
        for sweep in range(SWEEPS):
            series[:, sweep] += share**0.5 * value
            value = phi * value + (1 - phi**2) ** 0.5 * noise[(sweep + 1) % SWEEPS]
    time = torch.arange(1, SWEEPS + 1, dtype=torch.float64)[:, None]
    return series + sum(size * torch.exp(-time / tau) for size, tau in biases) / WALKERS**0.5


def ends(runs):
    """Sweep at which each run is accepted, None for never."""
    return [next((n for n in AT if equilibrated(run[:n])), None) for run in runs]


def left(biases, sweep):
    return sum(size * math.exp(-sweep / tau) for size, tau in biases)


@pytest.mark.parametrize(("share", "slow"), [(0.0, 1.0), (0.3, 40.0), (1.0, 20.0)])
def test_walkers_in_equilibrium_are_accepted_soon(share, slow):
    found = ends(walkers(slow_share=share, slow=slow))
    # A single look accepts 38, 68, 87, 95 and 95 % on its own.
    assert found.count(None) <= 2
    assert sum(sweep or SWEEPS for sweep in found) / RUNS < 85
    assert sum(sweep is not None and sweep <= 108 for sweep in found) >= 85


# The rule that was tried at every sweep accepted all of these, the first at sweep 50 on average.
@pytest.mark.parametrize(
    ("biases", "limit", "settings"),
    [
        (((10, 200),), 0.05, {"fast": 0.3}),
        (((-10, 200),), 0.05, {"fast": 0.3}),
        (((20, 100),), 0.05, {"slow_share": 0.1, "slow": 100.0}),
        (((1000, 2), (10, 200)), 0.05, {"fast": 0.3}),
    ],
)
def test_a_slow_bias_does_not_pass(biases, limit, settings):
    found = ends(walkers(biases, **settings))
    wrong = sum(sweep is not None and abs(left(biases, sweep)) > 2 for sweep in found)
    assert wrong <= limit * RUNS


@pytest.mark.parametrize("biases", [((30, 10),), ((-100, 10),), ((14, 8), (6, 40)), ((1000, 3),)])
def test_a_bias_that_has_decayed_is_forgotten(biases):
    found = ends(walkers(biases, slow_share=0.1, slow=20.0))
    assert found.count(None) <= 4
    bias = [abs(left(biases, sweep)) for sweep in found if sweep is not None]
    assert sum(bias) / len(bias) < 0.4
    assert max(bias) < 3


def test_drift_is_a_standard_normal_number_in_equilibrium():
    found = torch.stack([drift(run[:60]) for run in walkers(slow_share=0.5, slow=30.0)])
    assert abs(found.mean()) < 4 / RUNS**0.5
    assert abs(found.std() - 1) < 4 / (2 * RUNS) ** 0.5


def test_drift_of_a_known_trend():
    noise = torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64)
    series = torch.arange(10.0)[:, None] * (3 + noise)
    assert drift(series) == pytest.approx(((3 + noise).mean() / (3 + noise).std() * 2).item())
    assert drift(-series) == -drift(series)


@pytest.mark.parametrize(
    ("first", "last", "chosen"),
    [
        (20, 200, [48, 72, 108, 162, 200]),
        (0, 48, [48]),
        (100, 400, [100, 150, 225, 338, 400]),
        (3, 3, [3]),
        (0, 0, [0]),
        (60, 60, [60]),
    ],
)
def test_looks_are_rare_and_within_the_bounds(first, last, chosen):
    assert looks(first, last) == chosen


def test_frozen_lost_and_few_sweeps_are_no_equilibrium():
    series = walkers()[0]
    assert not equilibrated(torch.zeros(60, 8))
    assert not equilibrated(torch.zeros(0, 8))
    assert not equilibrated(series[:9])
    for value in (math.nan, math.inf, -math.inf):
        bad = series[:162].clone()
        bad[150, 3] = value
        assert not equilibrated(bad)


def test_what_is_long_past_does_not_matter():
    series = next(run for run in walkers() if equilibrated(run[:162]))[:162].clone()
    series[:80] = -math.inf
    assert equilibrated(series)
