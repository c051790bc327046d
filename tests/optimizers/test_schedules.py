import math

import pytest

from qmcnet.optimizers import Schedule


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (50, 2 / 3), (100, 0.5), (300, 0.25), (10**9, 1e-7)])
def test_inverse_decay_halves_the_rate_after_decay_steps(step, share):
    assert Schedule(decay="inverse", decay_steps=100)(step) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("step", [0, 1, 30, 59, 60])
def test_cosine_decay_is_half_a_wave(step):
    assert Schedule(decay="cosine", decay_steps=60)(step) == pytest.approx(math.cos(math.pi * step / 120) ** 2)


def test_cosine_decay_ends_at_zero_and_stays_there():
    schedule = Schedule(decay="cosine", decay_steps=60)
    assert schedule(59) > 1e-4
    assert all(schedule(step) == pytest.approx(0, abs=1e-15) for step in (60, 61, 90, 120, 10**6))


@pytest.mark.parametrize("step", [0, 7, 10**9])
def test_no_decay_keeps_the_rate(step):
    assert Schedule(decay="constant", decay_steps=3)(step) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("decay", ["inverse", "cosine", "constant"])
def test_a_warm_up_rises_in_equal_parts_and_decay_counts_from_its_end(decay):
    plain, warmed = Schedule(decay=decay, decay_steps=8), Schedule(decay=decay, decay_steps=8, warmup_steps=4)
    assert [warmed(step) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [warmed(step) for step in range(4, 20)] == pytest.approx([plain(step) for step in range(16)])


def test_the_default_is_inverse_decay_without_a_warm_up():
    assert Schedule()(0) == pytest.approx(1, rel=1e-15)
    assert Schedule()(10_000) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": "linear"}, "decay='linear' must be one of constant, cosine, inverse"),
        ({"decay_steps": 0}, "decay_steps=0 must be positive"),
        ({"decay_steps": math.nan}, "decay_steps=nan must be positive"),
        ({"warmup_steps": -1}, "warmup_steps=-1 must be at least 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)
