import math

import pytest

from qmcnet.optimizers import Schedule


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (50, 2 / 3), (100, 0.5), (300, 0.25), (10**9, 1e-7)])
def test_inverse_decay_halves_the_rate_after_decay_steps(step, share):
    assert Schedule(decay="inverse", decay_steps=100)(step, 7) == pytest.approx(share, rel=1e-6)


@pytest.mark.parametrize("step", [0, 1, 30, 59, 60])
def test_cosine_decay_is_half_a_wave(step):
    assert Schedule(decay="cosine", decay_steps=60)(step, 7) == pytest.approx(math.cos(math.pi * step / 120) ** 2)


def test_cosine_decay_ends_at_zero_and_stays_there():
    schedule = Schedule(decay="cosine", decay_steps=60)
    assert schedule(59, 7) > 1e-4
    assert all(schedule(step, 7) == pytest.approx(0, abs=1e-15) for step in (60, 61, 90, 120, 10**6))


def test_annealing_stays_for_a_third_and_falls_in_equal_parts_to_zero():
    schedule = Schedule(decay="annealed", decay_steps=100)
    assert [schedule(step, 7) for step in range(36)] == [1.0] * 36
    assert [schedule(step, 7) for step in (48, 61, 87, 100, 200)] == pytest.approx([0.8, 0.6, 0.2, 0, 0], abs=1e-15)


@pytest.mark.parametrize("decay", ["inverse", "annealed", "cosine"])
def test_without_a_number_a_decay_takes_all_planned_steps_so_that_a_longer_run_goes_back(decay):
    planned = Schedule(decay=decay, decay_steps=None, warmup_steps=3)
    given = Schedule(decay=decay, decay_steps=60, warmup_steps=3)
    assert [planned(step, 63) for step in range(64)] == [given(step, 1) for step in range(64)]
    assert planned(60, 6300) > 0.98


@pytest.mark.parametrize("step", [0, 7, 10**9])
def test_no_decay_keeps_the_rate(step):
    assert Schedule(decay="constant", decay_steps=3)(step, 7) == pytest.approx(1, rel=1e-15)


@pytest.mark.parametrize("decay", ["inverse", "annealed", "cosine", "constant"])
def test_a_warm_up_rises_in_equal_parts_and_decay_counts_from_its_end(decay):
    plain, warmed = Schedule(decay=decay, decay_steps=8), Schedule(decay=decay, decay_steps=8, warmup_steps=4)
    assert [warmed(step, 7) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert [warmed(step, 7) for step in range(4, 20)] == pytest.approx([plain(step, 7) for step in range(16)])


def test_the_default_is_inverse_decay_without_a_warm_up():
    assert Schedule()(0, 7) == pytest.approx(1, rel=1e-15)
    assert Schedule()(10_000, 7) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": "linear"}, "decay='linear' must be one of annealed, constant, cosine, inverse"),
        ({"decay_steps": 0}, "decay_steps=0 must be positive"),
        ({"decay_steps": math.nan}, "decay_steps=nan must be positive"),
        ({"warmup_steps": -1}, "warmup_steps=-1 must be at least 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**settings)
