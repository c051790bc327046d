import math

import pytest

from qmcnet.geometry import check_nuclei, checked_position, length_in_bohr, read_xyz

WATER = "3\nwater\nO 0.0 0.0 0.0\nH 0.0 0.757 0.587\nH 0.0 -0.757 0.587\n"


def write(tmp_path, text):
    path = tmp_path / "molecule.xyz"
    path.write_text(text)
    return path


def test_xyz_is_read(tmp_path):
    atoms = read_xyz(write(tmp_path, WATER))
    assert atoms == [("O", 0.0, 0.0, 0.0), ("H", 0.0, 0.757, 0.587), ("H", 0.0, -0.757, 0.587)]


def test_xyz_tolerates_blank_ends_further_columns_empty_comments_and_atomic_numbers(tmp_path):
    text = "  3 \n\n8 0.0 0.0 0.0 -0.8 extra\n 1\t0.0 0.757 0.587 0.4\nH 0.0 -7.57e-1 .587\n\n  \n"
    assert read_xyz(write(tmp_path, text)) == read_xyz(write(tmp_path, WATER))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' is not a number of atoms"),
        ("three\n\nH 0 0 0\n", "line 1: 'three'"),
        ("-1\n\nH 0 0 0\n", "line 1: '-1'"),
        ("0\n\n", "line 1: '0'"),
        ("1.0\n\nH 0 0 0\n", r"line 1: '1\.0'"),
        ("2\n\nH 0 0 0\n", "says 2 atoms and 1 lines"),
        ("1\n", "says 1 atoms and 0 lines"),
        ("1\n\nH 0 0 0\n1\n\nH 0 0 1\n", "says 1 atoms and 4 lines"),
        ("2\n\nH 0 0 0\nH 0 zero 1\n", "line 4: 'H 0 zero 1'"),
        ("2\n\nH 0 0\nH 0 0 1\n", "line 3: 'H 0 0'"),
        ("2\n\nH 0 0 0\n\nH 0 0 1\n", "says 2 atoms and 3 lines"),
        ("2\n\n\nH 0 0 1\n", "line 3: ''"),
        ("1\n\n92 0 0 0\n", "line 3: atomic number 92"),
        ("1\n\n0 0 0 0\n", "line 3: atomic number 0"),
    ],
)
def test_malformed_xyz_names_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_xyz(write(tmp_path, text))


def test_binary_xyz_is_malformed(tmp_path):
    path = tmp_path / "binary.xyz"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="line 1"):
        read_xyz(path)


def test_missing_xyz_is_named(tmp_path):
    for path in (tmp_path / "absent.xyz", tmp_path):
        with pytest.raises(ValueError, match=f"path='{path}' cannot be read"):
            read_xyz(path)


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
