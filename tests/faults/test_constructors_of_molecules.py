"""Arguments of the constructors of molecules that people mean, and those that nobody can mean."""

import numpy as np
import pytest
import torch

from qmcnet.system.molecule import Molecule

H2 = Molecule.diatomic("H", "H", 1.5, "bohr")


@pytest.mark.parametrize(
    "bond_length", [np.float32(1.5), np.float64(1.5), np.array(1.5), torch.tensor(1.5), torch.tensor(1.5).double()]
)
def test_numbers_of_numpy_and_torch_are_lengths(bond_length):
    assert Molecule.diatomic("H", "H", bond_length, "bohr") == H2
    assert type(Molecule.diatomic("H", "H", bond_length, "bohr").coordinates[1][2]) is float


def test_arrays_are_positions_and_integers_of_numpy_are_integers():
    assert Molecule(("H", "H"), np.array([[0, 0, 0], [0, 0, 1.5]], np.float32)) == H2
    assert Molecule(["H", "H"], torch.tensor([[0, 0, 0], [0, 0, 1.5]])) == H2
    assert Molecule.chain("H", np.int32(2), 1.5, "bohr", np.int64(0), np.int8(0)) == H2
    assert Molecule.diatomic("H", "H", np.int64(2), "bohr") == Molecule.diatomic("H", "H", 2, "bohr")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Molecule.diatomic("H", "H", 1e9, "bohr"), r"bond_length=1000000000\.0 bohr is too far: at most 1000"),
        (lambda: Molecule.diatomic("H", "H", 600, "angstrom"), "bond_length=600 angstrom is too far"),
        (lambda: Molecule.diatomic("H", "H", np.inf, "bohr"), "bond_length=inf is not a length"),
        (lambda: Molecule.diatomic("H", "H", np.array([1.5]), "bohr"), "is not a length: write a positive number"),
        (lambda: Molecule.diatomic("H", "H", np.bool_(True), "bohr"), "is not a length"),
        (lambda: Molecule.diatomic("H", "H", 1.5 + 0j, "bohr"), "is not a length"),
        (lambda: Molecule.diatomic("H", "H", np.complex64(1.5), "bohr"), "is not a length"),
        (lambda: Molecule.diatomic("H", "H", "1.5", "bohr"), "bond_length='1.5' is not a length"),
        (lambda: Molecule.rectangle("H", 1e4, 2, "bohr"), "width=10000.0 bohr is too far"),
        (lambda: Molecule.chain("H", 10**9, 1.5, "bohr"), "n_atoms=1000000000 is too large: at most 1000 atoms"),
        (lambda: Molecule.chain("H", 1e9, 1.5, "bohr"), r"n_atoms=1000000000\.0 is not an integer"),
        (lambda: Molecule.chain("H", 10**9, 1.5, "bohr", spin=0), "n_atoms=1000000000 is too large"),
        (lambda: Molecule.chain("H", 999, 1.5, "bohr"), r"atom 668 \(H\) is at .* at most 1000 bohr from the origin"),
        (lambda: Molecule.chain("H", -3, 1.5, "bohr"), "0 symbols"),
        (lambda: Molecule.from_atoms([["H", 0, 0, 1e9]], spin=1), r"atom 1 \(H\) is at"),
        (lambda: Molecule.from_atoms([["H", 0, 0, 2.0 * i] for i in range(2000)]), "number of atoms=2000 is too large"),
        (lambda: Molecule.from_atoms(None), "atoms=None is not a list with one item"),
        (lambda: Molecule.from_atoms(7), "atoms=7 is not a list"),
        (lambda: Molecule.from_atoms("H 0 0 0"), "row 1 is 'H': write"),
        (lambda: Molecule(None, [[0, 0, 0]]), "symbols=None"),
        (lambda: Molecule(["H"], None), "coordinates=None"),
        (lambda: Molecule.atom(1), "symbol=1 is not a supported element"),
        (lambda: Molecule.atom("He", charge=-40, spin=0), "charge=-40 is not possible: at least -2 is"),
        (lambda: Molecule.atom("H", charge=-(10**9), spin=0), "charge=-1000000000 is not possible"),
    ],
)
def test_the_rest_is_refused_in_words(build, message):
    with pytest.raises(ValueError, match=message):
        build()
