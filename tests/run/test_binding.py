import logging

import pytest

from qmcnet.ansatz import FermiNet, SlaterJastrow
from qmcnet.chemistry.binding import say_unbound_orbitals
from qmcnet.chemistry.scf import default_basis, hartree_fock
from qmcnet.report.binding import say_unbound_electron
from qmcnet.run.vmc import VMC
from qmcnet.stages.pretraining import PretrainingSettings
from qmcnet.system.molecule import Molecule

HELIUM_ANION = Molecule.atom("He", charge=-1)


@pytest.mark.parametrize(
    ("molecule", "basis"),
    [
        (Molecule.atom("He"), "cc-pvdz"),
        (Molecule.atom("He", charge=1), "cc-pvdz"),
        (HELIUM_ANION, "aug-cc-pvdz"),
        (Molecule.diatomic("O", "H", 1.83, "bohr", charge=-1), "aug-cc-pvdz"),
        (Molecule.atom("Ca", charge=-1, spin=1), "cc-pvdz"),
    ],
)
def test_an_anion_gets_diffuse_functions_where_there_are_some(molecule, basis, caplog):
    with caplog.at_level(logging.INFO):
        assert default_basis(molecule) == basis
    line = {"aug-cc-pvdz": "is the basis of the anion", "cc-pvdz": "no diffuse functions (aug-cc-pvdz) for Ca"}[basis]
    assert (line in caplog.text) == (molecule.charge < 0)


def test_without_diffuse_functions_the_last_electron_is_squeezed():
    helium = hartree_fock(Molecule.atom("He")).energy
    assert hartree_fock(HELIUM_ANION, "cc-pvdz").energy > helium + 1.0
    assert helium < hartree_fock(HELIUM_ANION).energy < helium + 0.3


def test_a_run_of_an_anion_stores_its_basis_and_respects_that_of_the_user(tmp_path):
    def stored(molecule, **settings):
        network = FermiNet(molecule, n_layers=1, n_determinants=1, hidden_one=4, hidden_two=2)
        return VMC(network, tmp_path, pretraining=PretrainingSettings(**settings)).config["pretraining"]["basis"]

    assert stored(HELIUM_ANION) == "aug-cc-pvdz"
    assert stored(HELIUM_ANION, basis="cc-pvdz") == "cc-pvdz"
    assert stored(Molecule.atom("He")) == stored(Molecule.atom("He"), steps=0) == "cc-pvdz"
    assert SlaterJastrow(HELIUM_ANION).settings["basis"] == "aug-cc-pvdz"
    assert SlaterJastrow(Molecule.atom("He")).settings["basis"] == "cc-pvdz"


@pytest.mark.parametrize(
    ("molecule", "says"),
    [
        (HELIUM_ANION, True),
        (Molecule.atom("F", charge=-1), False),
        (Molecule.atom("H"), False),
        (Molecule.atom("He", charge=1), False),
        (Molecule.atom("O", charge=-2), True),
    ],
)
def test_orbitals_of_an_unbound_electron_are_named(molecule, says, caplog):
    say_unbound_orbitals(molecule, hartree_fock(molecule))
    assert ("only correlation can bind its last electron" in caplog.text) == says


@pytest.mark.parametrize(
    ("molecule", "energy", "parent"),
    [
        (HELIUM_ANION, -2.9, "He"),
        (HELIUM_ANION, -2.91, None),
        (HELIUM_ANION, -2.903, None),  # within two standard errors
        (HELIUM_ANION, None, None),
        (Molecule.atom("H", charge=-1), -0.5277, None),
        (Molecule.atom("H", charge=-1), -0.48, "H"),
        (Molecule.atom("O", charge=-2), -74.9, "O"),
        (Molecule.atom("He", charge=1), -1.9, None),
        (Molecule.atom("He"), -2.8, None),
        (Molecule.diatomic("N", "N", 2.068, "bohr", charge=-1, spin=1), -109.4, "N2"),
        (Molecule.diatomic("N", "N", 3.456, "bohr", charge=-1, spin=1), -1.0, None),  # nothing is known there
        (Molecule.atom("C", charge=-1, spin=3).with_ecp("ccecp"), -5.40, "C"),
        (Molecule.atom("C", charge=-1, spin=3).with_ecp("ccecp"), -5.45, None),
        (Molecule.atom("C", charge=-1, spin=3).with_ecp("bfd"), -5.40, None),
    ],
)
def test_an_energy_above_that_of_the_neutral_is_named(molecule, energy, parent, caplog):
    say_unbound_electron(molecule, energy, 0.001)
    assert ("is not bound" in caplog.text) == (parent is not None)
    if parent:
        assert f"hartree of {parent} (" in caplog.text
