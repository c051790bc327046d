import math

import pytest

from qmcnet.system.geometry import check_nuclei, checked_position, length_in_bohr


@pytest.mark.parametrize("value", [0, 0.0, -1.4, math.nan, math.inf, True, "1.4", None])
def test_a_length_is_a_positive_finite_number(value):
    with pytest.raises(ValueError, match=r"bond_length=.*positive number in angstrom"):
        length_in_bohr("bond_length", value, "angstrom")


def test_lengths_are_converted():
    assert length_in_bohr("width", 3, "bohr") == pytest.approx(3.0)
    assert length_in_bohr("width", 1.0, "angstrom") == pytest.approx(1.8897261, rel=1e-7)


@pytest.mark.parametrize("row", [[0, 0], [0, 0, 0, 0], ["x", 0, 0], None, [0, 0, None]])
def test_a_position_has_three_numbers(row):
    with pytest.raises(ValueError, match=r"atom 2: .*three numbers"):
        checked_position(row, 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_position_is_finite(bad):
    with pytest.raises(ValueError, match=r"atom 3: .*not finite"):
        checked_position([0.0, bad, 0.0], 3)


def test_two_nuclei_at_the_same_place_are_named():
    coordinates = [(0.0, 0.0, 0.0), (0.0, 0.0, 1.4), (0.0, 0.03, 1.43)]
    with pytest.raises(ValueError, match=r"atoms 2 \(H\) and 3 \(F\) are 0\.04243 bohr apart"):
        check_nuclei(["C", "H", "F"], coordinates)
    check_nuclei(["C", "H", "F"], [*coordinates[:2], (0.0, 0.0, 1.451)])


def test_each_nucleus_needs_one_position():
    for symbols, coordinates in (([], []), (["H"], []), (["H"], [(0.0, 0.0, 0.0), (0.0, 0.0, 1.0)])):
        with pytest.raises(ValueError, match=f"{len(symbols)} symbols and {len(coordinates)} coordinates"):
            check_nuclei(symbols, coordinates)
