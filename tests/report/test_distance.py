"""The distance of a result from the exact energy, and what is said of it."""

import math

import pytest

from qmcnet.report.distance import Distance, measure
from qmcnet.statistics.zero_variance import SPREAD, SYSTEMATIC, expected
from qmcnet.words import duration

SLOPE = expected(12.5)


def learned(first, last, slope=0.05):
    """Late points of a training whose variance fell."""
    variances = [first + (last - first) * place / 7 for place in range(8)]
    return {
        "energies": [-37.845 + slope * variance for variance in variances],
        "errors": [1e-4] * 8,
        "variances": variances,
    }


def evaluated(variance, slope=0.05, **changes):
    energy = {"energy": -37.845 + slope * variance, "standard_error": 1e-4, "typical_variance": variance}
    return energy | {"variance": variance} | changes


def test_a_line_and_what_is_known_give_the_distance_and_the_steps_that_the_law_asks_for():
    distance = measure(learned(0.4, 0.2), evaluated(0.2), steps=1000, slope=SLOPE)
    line, prior = 0.05 * 0.2, SLOPE.median * 0.2
    weight = SYSTEMATIC**-2 / (SYSTEMATIC**-2 + SPREAD**-2)  # by how well each is known
    assert distance.value == pytest.approx(line**weight * prior ** (1 - weight), rel=0.05)
    assert distance.lower < line < prior < distance.upper
    assert distance.upper / distance.value == pytest.approx(distance.value / distance.lower)
    assert distance.more_steps == 4000
    assert distance.expected == pytest.approx(distance.value / 2)
    words = distance.words(of_several=False, pace=0.1)
    assert words.startswith("not converged    about 14 mHa (8.")
    assert "3000 more steps (5.0 min) should bring 6." in words
    assert words.endswith("steps=4000")


@pytest.mark.parametrize(("variance", "how"), [(0.008, ", within"), (0.015, ", probably within")])
def test_a_small_distance_is_within_chemical_accuracy_and_asks_for_nothing(variance, how):
    distance = measure(learned(3 * variance, variance), evaluated(variance), steps=1000, slope=SLOPE)
    assert distance.more_steps is None
    assert distance.words(False).startswith("converged        about ")
    assert distance.words(False).endswith(f"above the exact energy of the state{how} chemical accuracy")


def test_rare_walkers_far_above_all_others_count_in_part():
    plain, rare = (
        measure(learned(0.1, 0.05), evaluated(0.05) | {"variance": mean}, steps=1000, slope=SLOPE)
        for mean in (0.05, 0.45)
    )
    assert rare.lower == plain.lower
    assert rare.value == pytest.approx(3 * plain.value)
    assert rare.upper == pytest.approx(9 * plain.upper)


def test_a_variance_that_has_stopped_falling_asks_for_another_network():
    distance = measure(learned(0.201, 0.2), evaluated(0.2), steps=1000, slope=SLOPE)
    assert (distance.falling, distance.more_steps) == (False, None)
    assert "more steps hardly help, a larger network may" in distance.words(False)


def test_without_a_curve_it_rests_on_what_is_known_of_slopes():
    distance = measure({}, evaluated(0.2), steps=12, slope=SLOPE)
    assert distance.value == pytest.approx(0.2 * SLOPE.median)
    assert math.log(distance.upper / distance.value) == pytest.approx(1.2816 * SLOPE.spread)
    assert "the sum of the exact energies" in distance.words(of_several=True)


@pytest.mark.parametrize(
    "changes", [{"energy": None}, {"standard_error": None}, {"typical_variance": math.nan}, {"standard_error": 0.0}]
)
def test_nothing_is_said_without_an_energy(changes):
    assert measure(learned(0.4, 0.2), evaluated(0.2, **changes), steps=1000, slope=SLOPE) is None
    assert measure(learned(0.4, 0.2), evaluated(0.2), steps=0, slope=SLOPE) is None


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (90, "90 s"), (91, "1.5 min"), (5401, "1.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_distance_survives_a_file():
    distance = measure(learned(0.4, 0.2), evaluated(0.2), steps=1000, slope=SLOPE)
    assert Distance(**vars(distance)) == distance
