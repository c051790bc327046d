"""The running mean of the training log."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from qmcnet.statistics.running import ExponentialMean


def test_exponential_mean_equals_explicit_weights():
    values = np.random.default_rng(2).standard_normal(40)
    state = ExponentialMean()
    for value in values:
        state = state.update(value)
    weights = np.array([1.0])
    for n in range(1, len(values)):
        new = 1.0 / (2.0 + 0.1 * (n - 1))
        weights = np.append((1.0 - new) * weights, new)
    mean = weights @ values
    assert state.mean == pytest.approx(mean, rel=1e-12)
    assert state.variance == pytest.approx(weights @ (values - mean) ** 2, rel=1e-12)
    assert state.count == 40


def test_exponential_mean_is_seeded_by_the_first_value_and_never_changed():
    empty = ExponentialMean()
    first = empty.update(-8.0)
    assert (first.mean, first.variance, first.count) == (-8.0, 0.0, 1)
    second = first.update(-6.0)
    assert (second.mean, second.variance) == (-7.0, 1.0)
    assert math.isnan(second.update(math.nan).mean)
    assert (first.mean, empty.count) == (-8.0, 0)
    with pytest.raises(FrozenInstanceError):
        first.mean = 0.0


def test_exponential_mean_keeps_a_memory_of_a_thousand_values():
    state = ExponentialMean(mean=0.0, variance=0.0, count=10**6).update(1.0)
    assert state.mean == pytest.approx(1e-3, rel=1e-12)
