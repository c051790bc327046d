"""The distance of a result from the exact energy, and what is said of it."""

import math

import pytest

from qmcnet.report.distance import Distance, measure
from qmcnet.words import duration, in_mha


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
    return energy | changes


def test_a_clean_line_gives_the_distance_and_the_steps_that_the_law_asks_for():
    distance = measure(learned(0.4, 0.2), evaluated(0.2), steps=1000)
    assert distance.value == pytest.approx(0.05 * 0.2, rel=0.02)
    assert distance.error < 0.1 * distance.value
    assert not distance.reached
    assert distance.more_steps == 4000
    assert distance.expected == pytest.approx(distance.value / 2)
    words = distance.words(of_several=False, pace=0.1)
    assert words.startswith("not converged    about 10.")
    assert "3000 more steps (5.0 min) should bring 5.0" in words
    assert words.endswith("steps=4000")


def test_a_small_distance_is_within_chemical_accuracy_and_asks_for_nothing():
    distance = measure(learned(0.02, 0.008), evaluated(0.008), steps=1000)
    assert distance.reached
    assert distance.more_steps is None
    assert distance.words(False).startswith("converged        about 0.39(")
    assert distance.words(False).endswith("above the exact energy of the state, within chemical accuracy")


def test_a_variance_that_has_stopped_falling_asks_for_another_network():
    distance = measure(learned(0.201, 0.2), evaluated(0.2), steps=1000)
    assert (distance.falling, distance.more_steps) == (False, None)
    assert "a larger network may help, more steps hardly" in distance.words(False)


def test_without_a_curve_it_rests_on_what_is_known_of_slopes():
    distance = measure({}, evaluated(0.2), steps=12)
    assert 0.3 * distance.value < distance.error < distance.value
    assert "12 more" not in distance.words(False)
    assert "the sum of the exact energies" in distance.words(of_several=True)


@pytest.mark.parametrize(
    "changes", [{"energy": None}, {"standard_error": None}, {"typical_variance": math.nan}, {"standard_error": 0.0}]
)
def test_nothing_is_said_without_an_energy(changes):
    assert measure(learned(0.4, 0.2), evaluated(0.2, **changes), steps=1000) is None
    assert measure(learned(0.4, 0.2), evaluated(0.2), steps=0) is None


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (9.3e-3, 3.2e-3, "9(3) mHa"),
        (5.2e-4, 8e-5, "0.52(8) mHa"),
        (0.0123, 9.7e-4, "12.3(10) mHa"),
        (0.2, 0.06, "200(60) mHa"),
    ],
)
def test_a_number_has_its_error_in_the_last_digit(value, error, text):
    assert in_mha(value, error) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (90, "90 s"), (91, "1.5 min"), (5401, "1.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_distance_survives_a_file():
    distance = measure(learned(0.4, 0.2), evaluated(0.2), steps=1000)
    assert Distance(**vars(distance)) == distance
