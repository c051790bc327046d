import math

import numpy as np
import pyscf.gto
import pytest
import torch
from composing import composed
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf.errors import MissingMandatoryValue

from qmcnet.system.elements import SYMBOLS
from qmcnet.system.molecule import Molecule
from qmcnet.system.units import BOHR_PER_ANGSTROM

NEEDS_INPUT = {"atom", "atoms", "file", "xyz"}
HYDROGEN = [["H", 0, 0, 0], ["H", 0, 0, 1.4]]


@pytest.fixture
def load():
    return lambda *overrides: instantiate(composed(*overrides).system, _convert_="all")


def test_fields_are_normalised_and_frozen():
    molecule = Molecule(["li", "H"], [[0, 0, 0], np.array([0.0, 0.0, 3.015])], np.int64(0), 0)
    assert molecule == Molecule(("Li", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 3.015)))
    assert hash(molecule) == hash(Molecule(("Li", "H"), ((0.0, 0.0, 0.0), (0.0, 0.0, 3.015))))
    assert type(molecule.charge) is int
    with pytest.raises(AttributeError):
        molecule.charge = 1


def test_tensors_are_float64_in_bohr():
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 1.0]], units="angstrom")
    assert molecule.nuclei.dtype == molecule.charges.dtype == torch.float64
    assert molecule.nuclei.tolist() == [[0, 0, 0], [0, 0, BOHR_PER_ANGSTROM]]
    assert molecule.charges.tolist() == [3, 1]
    assert Molecule.atom("H").nuclei.shape == (1, 3)


@pytest.mark.parametrize(
    ("symbol", "charge", "spin", "n_up", "n_down"),
    [
        ("H", 0, 1, 1, 0),
        ("Li", 0, 1, 2, 1),
        ("N", 0, 3, 5, 2),
        ("O", -1, 1, 5, 4),
        ("He", 0, 2, 2, 0),
        ("Li", 2, 1, 1, 0),
    ],
)
def test_electrons_are_counted(symbol, charge, spin, n_up, n_down):
    atom = Molecule.atom(symbol, charge, spin)
    assert (atom.n_up, atom.n_down, atom.n_electrons) == (n_up, n_down, n_up + n_down)


@pytest.mark.parametrize("name", ["benzene", "ozone", "H10", "LiH", "C"])
def test_nuclear_repulsion_is_that_of_pyscf(load, name):
    molecule = load(f"+system={name}")
    mol = pyscf.gto.M(atom=list(zip(molecule.symbols, molecule.coordinates, strict=True)), unit="bohr", spin=None)
    assert molecule.nuclear_repulsion == pytest.approx(float(mol.energy_nuc()), rel=1e-12)
    again = Molecule.from_pyscf(mol)
    assert again.symbols == molecule.symbols
    assert torch.allclose(again.nuclei, molecule.nuclei, rtol=0, atol=1e-12)


def test_nearest_neighbour():
    assert Molecule.atom("Ne").nearest_neighbour is None
    atoms = [["H", 0, 0, 0], ["H", 0, 0, 5], ["H", 3, 0, 4]]
    assert Molecule.from_atoms(atoms, spin=1).nearest_neighbour == pytest.approx(math.sqrt(10))


def test_summary_echoes_both_units():
    text = Molecule.diatomic("N", "N", 1.0, "angstrom").summary()
    for part in (
        "N2",
        "charge 0",
        "spin 0",
        "14 electrons (7 up, 7 down)",
        "1.889726",
        "1.000000",
        "bohr",
        "angstrom",
    ):
        assert part in text
    assert "nearest neighbours 1.889726 bohr = 1.000000 angstrom" in text
    assert "1 electron (1 up, 0 down)" in Molecule.atom("H").summary()
    assert "nearest" not in Molecule.atom("H").summary()


def test_rectangle_and_chain():
    rectangle = Molecule.rectangle("H", 2.0, 3.0, "bohr")
    distances = sorted(torch.pdist(rectangle.nuclei).tolist())
    assert distances == pytest.approx([2, 2, 3, 3, math.sqrt(13), math.sqrt(13)])
    assert rectangle.n_electrons == 4
    chain = Molecule.chain("H", 5, 1.8, "bohr")
    assert torch.pdist(chain.nuclei).max() == pytest.approx(7.2)
    assert chain.nearest_neighbour == pytest.approx(1.8)
    assert (chain.spin, Molecule.chain("H", 5, 1.8, "bohr", charge=1).spin) == (1, 0)
    assert Molecule.chain("H", 4, 1.8, "bohr", spin=4).n_down == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Molecule.from_atoms(HYDROGEN, spin=1),
            r"spin=1 is impossible with 2 electrons.*one of 0, 2",
        ),
        (lambda: Molecule.from_atoms(HYDROGEN, spin=4), "spin=4 is impossible with 2 electrons"),
        (lambda: Molecule.from_atoms(HYDROGEN, spin=-2), "spin=-2 is impossible"),
        (lambda: Molecule.from_atoms(HYDROGEN, charge=1), "spin=0 is impossible with 1 electrons.*one of 1"),
        (lambda: Molecule.from_atoms(HYDROGEN, charge=2), "charge=2 leaves 0 electrons: at most 1"),
        (lambda: Molecule.from_atoms(HYDROGEN, charge=5), "charge=5 leaves -3 electrons: at most 1"),
        (lambda: Molecule.atom("H", charge=1), "charge=1 leaves 0 electrons"),
        (lambda: Molecule.from_atoms(HYDROGEN, spin=True), "spin=True is not an integer"),
        (lambda: Molecule.from_atoms(HYDROGEN, charge=0.5), r"charge=0\.5 is not an integer"),
        (lambda: Molecule.from_atoms(HYDROGEN, charge=None), "charge=None is not an integer"),
        (lambda: Molecule.atom("H", charge=0.0), r"charge=0\.0 is not an integer"),
        (lambda: Molecule.chain("H", 2.0, 1.8, "bohr"), r"n_atoms=2\.0 is not an integer"),
        (lambda: Molecule.chain("H", 0, 1.8, "bohr"), "0 symbols and 0 coordinates"),
        (lambda: Molecule.atom("Xx"), "symbol='Xx'"),
        (lambda: Molecule.diatomic("H", "Hee", 1.0, "bohr"), "symbol='Hee'.*He"),
        (lambda: Molecule.diatomic("H", "H", -1.4, "bohr"), "bond_length=-1.4 is not a length"),
        (lambda: Molecule.diatomic("H", "H", 0.02, "bohr"), r"atoms 1 \(H\) and 2 \(H\)"),
        (lambda: Molecule.diatomic("H", "H", 1.4, "pm"), "units='pm'"),
        (lambda: Molecule.rectangle("H", 1.0, math.nan, "bohr"), "height=nan is not a length"),
        (lambda: Molecule.from_atoms([["H", 0, 0]], spin=1), r"row 1 is \['H', 0, 0\]"),
        (lambda: Molecule.from_atoms(["H 0 0 0"], spin=1), "row 1 is 'H 0 0 0'"),
        (lambda: Molecule.from_atoms([["H", 0, 0, "a"]], spin=1), "atom 1: .*not three numbers"),
        (lambda: Molecule.from_atoms([]), "0 symbols and 0 coordinates"),
        (lambda: Molecule(("H",), ((0.0, 0.0, math.inf),), 0, 1), "atom 1: .*not finite"),
    ],
)
def test_errors_name_the_value_and_the_fix(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_named_atoms_are_neutral_ground_states(load):
    for symbol in SYMBOLS[:18]:
        assert load(f"+system={symbol}") == Molecule.atom(symbol)


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("B2", 1.590),
        ("O2", 1.20752),
        ("F2", 1.41193),
        ("HF", 0.916808),
        ("BH", 1.2324),
        ("NO", 1.15077),
        ("Be2", 2.4536),
    ],
)
def test_diatomics_have_their_experimental_bond_lengths(load, name, length):
    assert load(f"+system={name}").nearest_neighbour == pytest.approx(length * BOHR_PER_ANGSTROM, abs=1e-5)


def test_water_has_its_experimental_geometry(load):
    oxygen, first, second = load("+system=H2O").nuclei
    cosine = torch.nn.functional.cosine_similarity(first - oxygen, second - oxygen, dim=-1)
    assert math.degrees(math.acos(cosine)) == pytest.approx(104.52, abs=1e-4)
    assert torch.linalg.vector_norm(first - oxygen) == pytest.approx(0.9572 * BOHR_PER_ANGSTROM, abs=1e-5)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["+system=N2", "bond_length=2.4"], Molecule.diatomic("N", "N", 2.4, "bohr")),
        (["+system=N2", "bond_length=1.1", "units=angstrom"], Molecule.diatomic("N", "N", 1.1, "angstrom")),
        (["+system=C", "system.charge=1"], Molecule.atom("C", 1, 1)),
        (["+system=Li", "system.spin=3"], Molecule.atom("Li", 0, 3)),
        (["+system=atom", "symbol=fe"], Molecule.atom("Fe", 0, 4)),
        (["+system=H2+"], Molecule.diatomic("H", "H", 2.0, "bohr", 1, 1)),
        (["+system=HeH+", "bond_length=1.5"], Molecule.diatomic("He", "H", 1.5, "bohr", 1, 0)),
        (["+system=H4", "width=2", "height=2.5"], Molecule.rectangle("H", 2.0, 2.5, "bohr")),
        (["+system=H_chain", "n_atoms=3", "bond_length=2"], Molecule.chain("H", 3, 2.0, "bohr", spin=1)),
        (["+system=H10", "bond_length=2"], Molecule.chain("H", 10, 2.0, "bohr", spin=0)),
        (["+system=atoms", "system.atoms=[[N,0,0,0],[N,0,0,2.1]]"], Molecule.diatomic("N", "N", 2.1, "bohr")),
    ],
)
def test_presets_take_overrides(load, overrides, expected):
    assert load(*overrides) == expected


def test_xyz_preset(load, tmp_path):
    path = tmp_path / "oh.xyz"
    path.write_text("2\n\nO 0 0 0\nH 0 0 0.97\n")
    molecule = load("+system=xyz", f"path={path}", "system.charge=-1", "system.spin=0")
    assert molecule == Molecule.diatomic("O", "H", 0.97, "angstrom", charge=-1)


@pytest.mark.parametrize("name", sorted(NEEDS_INPUT))
def test_presets_that_need_input_say_so(load, name):
    with pytest.raises((MissingMandatoryValue, HydraException)):
        load(f"+system={name}")
