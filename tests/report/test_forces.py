"""What is said of forces: a line for each nucleus, and a warning where they may be off by more than their errors."""

import pytest

from qmcnet.report.distance import Distance
from qmcnet.report.forces import caveats
from qmcnet.report.table import observed

FIGURE = {"value": 0.0310149, "error": 0.00123}
FORCES = {f"{name} {axis}": FIGURE for name in ("H1", "H2", "torque") for axis in "xyz"}
STATE = {"virial_ratio": {"value": 2.0, "error": 0.1}, "forces": FORCES}


def distance(value, falling=False):
    return Distance(value, value / 2, value * 2, 0.5, 0.01, falling, 100)


def test_there_is_a_line_for_each_nucleus_with_its_unit():
    lines = dict(observed(STATE))
    assert list(lines) == ["virial ratio", "force on H1", "force on H2", "torque"]
    assert lines["force on H2"] == "x 0.03101(123)  y 0.03101(123)  z 0.03101(123)  hartree/bohr"
    assert lines["torque"].endswith("hartree")


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (distance(0.00002), None),
        (
            distance(0.0020),
            "about 2 mHa above the exact one; they may be off by some 11 mHa/bohr, more than their errors",
        ),
        (distance(0.0020, falling=True), "and its variance was still falling"),
        (None, "how far the energy is from the exact one is not known"),
    ],
)
def test_an_energy_far_from_the_exact_one_is_a_warning(known, said):
    found = caveats([STATE], known)
    assert [said in sentence for sentence in found] == ([] if said is None else [True])


def test_nothing_is_said_without_forces_or_of_an_atom():
    assert caveats([{"forces": {f"{name} {axis}": FIGURE for name in ("He1", "torque") for axis in "xyz"}}], None) == []
    assert caveats([{"virial_ratio": FIGURE}], None) == []
    assert caveats([], None) == []
