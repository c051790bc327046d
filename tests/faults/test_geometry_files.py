"""Files with geometries that people bring: what is read, and in what words the rest is refused."""

import os
import re

import pytest
from ase import Atoms
from ase.io import write as ase_write
from hypothesis import given, settings
from hypothesis import strategies as st

from qmcnet.system.molecule import Molecule
from qmcnet.system.units import BOHR_PER_ANGSTROM

WATER = Molecule.from_atoms([["O", 0, 0, 0], ["H", 0, 0.757, 0.587], ["H", 0, -0.757, 0.587]], "angstrom")
ROWS = "O 0.0 0.0 0.0\nH 0.0 0.757 0.587\nH 0.0 -0.757 0.587\n"
FORCES = "O 9 9 9 0 0 0\nH 9 9 9 0 .757 .587\nH 9 9 9 0 -.757 .587\n"
QM9 = (
    "3\ngdb 3\t799.58 437.9 282.9 1.8 6.3 -0.2 0.06 0.3 19.0 0.02 -76.4 -76.4 -76.4 -76.4 6.0\n"
    "O\t0.0\t0.0\t0.0\t-0.589706\nH\t0.0\t7.57*^-1\t0.587\t0.294853\nH\t1.0*^-6\t-0.757\t0.587\t0.294853\n"
    "1671.4222\t3803.6305\t3907.698\nO\tO\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)


def write(tmp_path, content, name="m.xyz"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def close(molecule, expected):
    assert (molecule.symbols, molecule.charge, molecule.spin) == (expected.symbols, expected.charge, expected.spin)
    assert (molecule.nuclei - expected.nuclei).abs().max() < 1e-5


@pytest.mark.parametrize(
    "content",
    [
        "3\nwater\n" + ROWS,
        "  3 \n\n" + ROWS + "\n  \n",
        b"\xef\xbb\xbf3\nwater\n" + ROWS.encode(),
        ("3\nwater\n" + ROWS).encode("utf-16"),
        ("3\nwater\n" + ROWS).replace("\n", "\r\n"),
        ("3\nwater\n" + ROWS).replace("\n", "\r"),
        "\n\n3\nwater\n" + ROWS,
        "3 atoms of water\n\n" + ROWS,
        "3\nwater\n8 0 0 0 -0.8 extra\n 1\t0.0 0.757 0.587 0.4\nH 0.0 -7.57e-1 .587\n",
        "3\nwater\nO1 0 0 0\nH_a 0 0.757D0 5.87d-1\nD 0 -0.757 0.587\n",
        "3\nwater\no 0 0 0\nH:2 0 0.757 0.587\nh@3 0 -0.757 0.587\n",
        QM9,
        "3\nProperties=species:S:1:forces:R:3:pos:R:3 energy=-76\n" + FORCES,
        '3\nProperties="species:S:1:forces:R:3:pos:R:3" pbc="F F F"\n' + FORCES,
        "3\nproperties=id:I:1:Z:I:1:pos:R:3:mass:R:1\n1 8 0 0 0 16\n2 1 0 .757 .587 1\n3 1 0 -.757 .587 1\n",
        '3\nLattice="9 0 0 0 9 0 0 0 9" pbc="F F F" Properties=species:S:1:pos:R:3\n' + ROWS,
        "3\nunits=angstrom charge=0 multiplicity=1\n" + ROWS,
        "3\nCoordinates from ORCA-job water E -76.026760737428\n" + ROWS,
        "3\ncharge transfer state, spin densities to follow\n" + ROWS,
        "3\nwater\n" + ROWS + "\n1.0 2.0 3.0\nvelocities follow\n",
    ],
)
def test_what_is_meant_is_read(content, tmp_path):
    close(Molecule.from_xyz(write(tmp_path, content)), WATER)


def with_comment(comment):
    return f"3\n{comment}\n{ROWS}"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("\n \n", r"line 1: '' is not a number of atoms: write a positive integer"),
        ("three\n\nH 0 0 0\n", "line 1: 'three' is not a number"),
        ("-1\n\nH 0 0 0\n", "line 1: '-1' is not a number"),
        ("0\n\n", "line 1: '0' is not a number"),
        ("1.0\n\nH 0 0 0\n", r"line 1: '1\.0' is not a number"),
        ("\n\n\u0663\n\nH 0 0 0\n", "line 3: '\u0663' is not a number"),
        ("9999999999\n\nH 0 0 0\n", "line 1: '9999999999' is not a number"),
        ("2000\n\nH 0 0 0\n", "line 1: 2000 atoms are too many: at most 1000"),
        ("O 0 0 0\nH 0 0 1\n", "line 1: 'O 0 0 0' is not a number"),
        ("2\n\nH 0 0 0\n", "line 1 says 2 atoms and 1 lines follow"),
        ("1\n", "line 1 says 1 atoms and 0 lines follow"),
        ("1\n\nH 0 0 0\n1\n\nH 0 0 1\n", r"line 1 says 1 atoms and .*line 6 holds another, 'H 0 0 1': .*single frame"),
        ("\n1\n\nH 0 0 0\nHe 0 0 1\n", "line 2 says 1 atoms and .*line 5 holds another"),
        ("2\n\nH 0 0 0\nH 0 zero 1\n", "line 4: 'H 0 zero 1' is not an atom: write symbol x y z"),
        ("2\n\nH 0 0\nH 0 0 1\n", "line 3: 'H 0 0' is not an atom"),
        ("2\n\nH 0 0 0\n\nH 0 0 1\n", "line 5 holds another|line 4: '' is not an atom"),
        ("2\n\n\nH 0 0 1\n", "line 3: '' is not an atom"),
        ("1\n\nH 0,0 0,0 0,0\n", "line 3: .* is not an atom"),
        ("1\n\nH 1_0 0 0\n", "line 3: 'H 1_0 0 0' is not an atom"),
        ("1\n\nH 0 nan 0\n", "line 3: 'H 0 nan 0' is not finite"),
        ("1\n\nH 0 1e999 0\n", "line 3: 'H 0 1e999 0' is not finite"),
        ("1\n\nH 1e5 0 0\n", r"atom 1 \(H\) is at .*at most 1000 bohr from the origin"),
        ("1\n\n92 0 0 0\n", "line 3: atomic number 92 is not supported"),
        ("1\n\n0 0 0 0\n", "line 3: atomic number 0 is not supported"),
        ("1\n\nQq 0 0 0\n", "line 3: symbol='Qq' is not a supported element"),
        ("1\n\nGh(H) 0 0 0\n", r"line 3: Gh\(H\) is a ghost or dummy atom .*remove the line"),
        ("1\n\nX 0 0 0\n", "line 3: X is a ghost"),
        ("1\n\nghost-He 0 0 0\n", "line 3: ghost-He is a ghost"),
        ("1\n\n@H 0 0 0\n", "line 3: @H is a ghost"),
        ("1\n\nBq1 0 0 0\n", "line 3: Bq1 is a ghost"),
        ("2\n\nH 1 0 0 0\nHe 2 0 0 1\n", "line 3: the second column holds atomic numbers: write symbol x y z"),
        (with_comment('Lattice="9 0 0 0 9 0 0 0 9"'), "line 2: Lattice= or pbc= make it periodic"),
        (with_comment('pbc="T T T"'), "line 2: Lattice= or pbc= make it periodic"),
        (with_comment("pbc=T"), "line 2: Lattice= or pbc= make it periodic"),
        (with_comment('Lattice="9 0 0 0 9 0 0 0 9" pbc="F F T"'), "line 2: Lattice= or pbc= make it periodic"),
        (with_comment("Properties=species:S:1:forces:R:3"), r"line 2: Properties=.* needs species:S:1 .*pos:R:3"),
        (with_comment("Properties=pos:R:3"), "line 2: Properties=pos:R:3 needs species"),
        (with_comment("Properties=what"), "line 2: Properties=what cannot be read"),
        (with_comment("Properties=species:S:1:pos:R:3:forces:R:3"), "line 3: .* write the 7 columns of Properties="),
        (with_comment("charge=half"), "line 2: charge=half is not a whole number"),
        (with_comment("charge=0.5"), r"line 2: charge=0\.5 is not a whole number"),
        (with_comment("multiplicity=0"), "line 2: multiplicity=0 cannot be"),
        (with_comment("spin=1 multiplicity=3"), "line 2: multiplicity=3 and spin=1, .* cannot be"),
        (with_comment("units=pm"), "line 2: units=pm is not a length unit: choose one of bohr, angstrom"),
        (with_comment("R = 1.81 bohr"), "line 2 mentions bohr: say units=bohr or units=angstrom"),
        (with_comment("multiplicity=2"), "spin=1 is impossible with 10 electrons"),
        (b"\x00\x01\x02\x03" * 9, "is not a text file"),
        (b"\x89PNG\r\n\x1a\n\xff\xff\xff\xff\xfe", "is not a text file"),
        ("", "is empty: give a file"),
    ],
)
def test_the_rest_is_refused_with_file_and_line(content, line, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=line) as error:
        Molecule.from_xyz(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value) or "atom 1" in line or "spin=1 is" in line


@pytest.mark.parametrize(
    ("comment", "charge", "spin"),
    [
        ("charge=-1 multiplicity=2", -1, 1),
        ("Charge: 1, spin multiplicity: 4", 1, 3),
        ("charge 2 mult 3", 2, 2),
        ("spin=2", 0, 2),
        ('total_charge="+1" spin="1"', 1, 1),
        ("-1 2", -1, 1),
        ("1, 2", 1, 1),
    ],
)
def test_charge_and_spin_of_a_comment_are_taken_and_said(comment, charge, spin, tmp_path, caplog):
    path = write(tmp_path, with_comment(comment))
    with caplog.at_level("INFO"):
        molecule = Molecule.from_xyz(path)
    assert (molecule.charge, molecule.spin) == (charge, spin)
    assert f"spin={spin} is taken from {path}, line 2" in caplog.text
    assert Molecule.from_xyz(path, charge=charge, spin=spin) == molecule
    with pytest.raises(ValueError, match=rf"spin={spin + 2} contradicts {path}, line 2, which says spin={spin}"):
        Molecule.from_xyz(path, spin=spin + 2)


@pytest.mark.parametrize("comment", ["units=bohr", "coordinates in bohr", "unit: a.u.", "(Bohr)", "in atomic units"])
def test_units_of_a_comment_are_taken_and_said(comment, tmp_path, caplog):
    path = write(tmp_path, f"2\n{comment}\nH 0 0 0\nH 0 0 1.4\n")
    with caplog.at_level("INFO"):
        assert Molecule.from_xyz(path) == Molecule.diatomic("H", "H", 1.4, "bohr")
    assert "units=bohr is taken from" in caplog.text
    with pytest.raises(ValueError, match=r"units=angstrom contradicts .*which says units=bohr"):
        Molecule.from_xyz(path, units="angstrom")


def test_a_mention_of_bohr_is_settled_by_the_user(tmp_path):
    path = write(tmp_path, "2\nbond of 1.4 bohr\nH 0 0 0\nH 0 0 0.74\n")
    distance = Molecule.from_xyz(path, units="angstrom").nearest_neighbour
    assert distance == pytest.approx(0.74 * BOHR_PER_ANGSTROM)


def test_units_behind_the_count_are_taken(tmp_path):
    path = write(tmp_path, "2 bohr\n\nH 0 0 0\nH 0 0 1.4\n")
    assert Molecule.from_xyz(path) == Molecule.diatomic("H", "H", 1.4, "bohr")


def test_moments_and_charges_written_by_ase_are_summed(tmp_path):
    path = tmp_path / "o2.xyz"
    ase_write(path, Atoms("O2", [[0, 0, 0], [0, 0, 1.2]], magmoms=[2, 1], charges=[0.5, 0.5]), format="extxyz")
    molecule = Molecule.from_xyz(path)
    assert (molecule.charge, molecule.spin) == (1, 3)
    assert molecule.nearest_neighbour == pytest.approx(1.2 * BOHR_PER_ANGSTROM)


MOL = (
    "\n  made by hand\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n"
    "    0.0000    0.0000    0.0000 O   0  0\n    0.0000    0.0000    0.9700 H   0  0\n  1  2  1  0\n"
    "M  CHG  1   1  -1\nM  END\n"
)
HYDROXIDE = Molecule.diatomic("O", "H", 0.97, "angstrom", charge=-1)
GAUSSIAN = "%chk=a.chk\n# hf/sto-3g\n\nhydroxide\n\n-1 1\nO 0.0 0.0 0.0\nH 0.0 0.0 0.97\n\n"
PDB = (
    "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O\n"
    "HETATM    2  H   HOH A   1       0.000   0.000   0.970  1.00  0.00           H\nEND\n"
)


@pytest.mark.parametrize(("name", "text"), [("a.mol", MOL), ("a.sdf", MOL + "$$$$\n"), ("a.com", GAUSSIAN)])
def test_charges_of_other_formats_are_taken(name, text, tmp_path, caplog):
    path = write(tmp_path, text, name)
    with caplog.at_level("INFO"):
        close(Molecule.from_file(path), HYDROXIDE)
    assert f"charge=-1 is taken from {path}" in caplog.text
    with pytest.raises(ValueError, match=r"charge=1 contradicts"):
        Molecule.from_file(path, charge=1)


def test_a_format_without_charges_says_so(tmp_path, caplog):
    path = write(tmp_path, PDB, "a.pdb")
    with caplog.at_level("INFO"):
        close(Molecule.from_file(path, charge=-1), HYDROXIDE)
    assert f"{path} (proteindatabank) is not read for charge and spin" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.foo", "what is this\n", "is of no format that ASE knows: give an xyz file"),
        ("a.mol", "what is this\n", "cannot be read by ASE: "),
        ("a.pdb", b"\x00\xff\x01" * 50, "cannot be read by ASE: |holds no atoms"),
        ("a.mol", MOL.replace("M  END", "M  RAD  1   1   2\nM  END"), "states radicals"),
        ("POSCAR", "H\n1.0\n5 0 0\n0 5 0\n0 0 5\nH\n1\nDirect\n0 0 0\n", "pbc=T T T: periodic cells are not supported"),
        ("a.xyz", "1\n\nH 0 0\n", r"line 3: 'H 0 0' is not an atom"),
        ("a.gen", "0 C\n", "cannot be read by ASE: |holds no atoms"),
    ],
)
def test_other_files_are_refused_in_one_line(name, content, line, tmp_path):
    path = write(tmp_path, content, name)
    with pytest.raises(ValueError, match=line) as error:
        Molecule.from_file(path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_several_geometries_are_refused(tmp_path):
    path = tmp_path / "a.traj"
    ase_write(path, [Atoms("H2", [[0, 0, 0], [0, 0, z]]) for z in (0.7, 0.8)])
    with pytest.raises(ValueError, match=r"\(traj\) holds 2 geometries"):
        Molecule.from_file(path)


@pytest.mark.parametrize("read", [Molecule.from_xyz, Molecule.from_file])
def test_a_path_that_is_no_file_neither_hangs_nor_fails_otherwise(read, tmp_path):
    pipe, large = tmp_path / "pipe", tmp_path / "large.xyz"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(10**9)
    refused = {
        tmp_path / "absent.xyz": "cannot be read: No such file",
        tmp_path: "cannot be read: Is a directory",
        pipe: "is a pipe",
        "/dev/zero": "is a pipe, a socket or a device",
        large: "has 1000 MB",
        "-": "cannot be read",
        "nul\0": "cannot be read",
        "x" * 5000: "cannot be read: File name too long",
    }
    for path, line in refused.items():
        with pytest.raises(ValueError, match=line) as error:
            read(path)
        assert str(error.value).startswith(f"path={str(path)!r}") and "\n" not in str(error.value)


ELEMENT = st.sampled_from(["H", "O", "o1", "8", "D", "Gh(H)", "X", "Zz", "0", "", "H_a"])
NUMBER = st.one_of(
    st.floats(-9, 9).map(repr), st.sampled_from(["1.5D0", "2*^-1", "nan", "1e999", "1_0", "0x1", "", "\u0663", "1,5"])
)
ROW = st.builds(" ".join, st.tuples(ELEMENT, NUMBER, NUMBER, NUMBER))
WORDS = ["charge=1", "charge:", "spin=x", "multiplicity=2", "mult 3", "units=bohr", "bohr", "0 1", "Lattice=", "pbc="]
WORDS += ['pbc="T F"', "Properties=species:S:1:pos:R:3", "Properties=", "Properties=Z:I:1:pos:R:3:q:R:1"]
COMMENT = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
TEXT = st.text("0123 HOeD.-+*^\t\n\r=:\"'{\ufeff\u0663\x00\xe9", max_size=40)
FILE = st.builds(
    lambda count, comment, rows: "\n".join([count, comment, *rows]),
    st.sampled_from(["1", "2", "3", " 2 atoms", "\ufeff2", "0", "", "9" * 50]),
    st.one_of(COMMENT, TEXT),
    st.lists(st.one_of(ROW, TEXT), max_size=4),
)


@settings(max_examples=100, deadline=None)
@given(text=st.one_of(FILE, TEXT))
def test_any_text_is_a_molecule_or_refused_in_words(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.xyz"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    try:
        assert Molecule.from_xyz(path).n_electrons > 0
    except ValueError as error:
        assert re.match(rf"{path}, line \d+|path=|atoms? \d|spin=|charge=|\w+=\S+ contradicts", str(error)), error


@settings(max_examples=30, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_molecule_or_refused(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.xyz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"any\.xyz"):
        Molecule.from_xyz(path)
