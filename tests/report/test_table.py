import math

import pytest

from qmcnet.report.table import plus_minus, with_error


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-2.903764, 7.6e-5, "-2.90376(8)"),
        (-2.903764, 0.0, "-2.90376(0)"),
        (-2.903764, None, "-2.90376"),
        (-2.903764, math.nan, "-2.90376"),
        (-2.903764, math.inf, "-2.90376"),
        (0.0003, 0.2, "0.00030(20000)"),
        (-1e-9, 1e-9, "0.00000(1)"),
        (None, 1.0, "-"),
        (math.nan, 1.0, "-"),
    ],
)
def test_figures_with_errors_of_all_kinds(value, error, text):
    assert with_error({"value": value, "error": error}, 5) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (1.79e-4, "-0.499999 +- 0.000179"),
        (1e-6, "-0.499999 +- 0.000001"),
        (4.2e-7, "-0.49999900 +- 0.00000042"),
        (3e-9, "-0.4999990000 +- 0.0000000030"),
        (1e-17, "-0.499999000000 +- 0.000000000000"),
        (0.0, "-0.499999 +- 0.000000"),
    ],
)
def test_a_small_error_of_an_energy_does_not_look_like_none(error, text):
    assert plus_minus(-0.499999, error) == text
