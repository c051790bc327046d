import pytest

from qmcnet.optimizers.schedules import inverse_decay


def test_the_rate_halves_after_decay_steps():
    assert inverse_decay(0.04, 0, 100) == pytest.approx(0.04, rel=1e-15)
    assert inverse_decay(0.04, 100, 100) == pytest.approx(0.02)
    assert inverse_decay(0.04, 300, 100) == pytest.approx(0.01)


def test_no_decay_keeps_the_rate():
    assert inverse_decay(0.04, 10**9, None) == pytest.approx(0.04, rel=1e-15)
