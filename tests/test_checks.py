import math

import pytest

from qmcnet.checks import at_least, between, one_of, positive


def test_settings_that_must_not_be_below_a_bound():
    at_least(0, steps=0, error=1e-300, open=None, many=math.inf)
    with pytest.raises(ValueError, match="count=2 must be at least 3"):
        at_least(3, rate=3, count=2)
    with pytest.raises(ValueError, match="rate=nan must be at least 0"):
        at_least(0, rate=math.nan)


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_settings_that_must_be_positive(value):
    positive(rate=1e-300, count=1, open=None)
    with pytest.raises(ValueError, match=f"second={value} must be positive"):
        positive(first=1.0, second=value)


@pytest.mark.parametrize("share", [-1e-9, 1.0, 2.0, math.nan])
def test_settings_that_must_be_shares(share):
    at_least(0, below=1, first=0.0, second=0.999, open=None)
    with pytest.raises(ValueError, match=f"second={share} must be at least 0 and less than 1"):
        at_least(0, below=1, first=0.5, second=share)


@pytest.mark.parametrize("value", [0.999, 3.001, math.nan])
def test_settings_that_must_be_in_a_range(value):
    between(1, 3, first=1, second=3, open=None)
    with pytest.raises(ValueError, match=f"second={value} must be between 1 and 3"):
        between(1, 3, first=2, second=value)


def test_settings_that_must_be_one_of_a_few_words():
    one_of(("round", "square"), shape="round", open=None)
    with pytest.raises(ValueError, match="shape='flat' must be one of round, square"):
        one_of(("round", "square"), shape="flat")
