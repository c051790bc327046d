import numpy as np
import pyscf.gto
import pyscf.pbc.gto
import pyscf.scf
import pytest
import torch
from ase import Atoms
from ase.build import molecule as ase_molecule

from qmcnet.system.molecule import Molecule
from qmcnet.system.units import BOHR_PER_ANGSTROM

LITHIUM_HYDRIDE = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5957]]


def test_atoms_of_ase_are_in_angstrom():
    atoms = ase_molecule("H2O")
    molecule = Molecule.from_ase(atoms)
    assert (molecule.formula, molecule.n_up, molecule.n_down) == ("H2O", 5, 5)
    distances = torch.tensor(atoms.get_all_distances()) * BOHR_PER_ANGSTROM
    torch.testing.assert_close(torch.cdist(molecule.nuclei, molecule.nuclei), distances, rtol=1e-12, atol=1e-12)
    assert Molecule.from_ase(Atoms("LiH", LITHIUM_HYDRIDE)) == Molecule.diatomic("Li", "H", 1.5957, "angstrom")


@pytest.mark.parametrize(
    ("name", "spin"), [("O2", 2), ("NO", 1), ("CH", 1), ("Si", 2), ("N", 3), ("H2O", 0), ("CO", 0)]
)
def test_magnetic_moments_become_the_spin(name, spin, caplog):
    with caplog.at_level("INFO"):
        assert Molecule.from_ase(ase_molecule(name)).spin == spin
    assert ("spin" in caplog.text) == (spin > 0)
    if spin:
        with pytest.raises(ValueError, match=rf"spin={spin + 2} contradicts atoms, which says spin={spin}"):
            Molecule.from_ase(ase_molecule(name), spin=spin + 2)


@pytest.mark.parametrize(
    ("changes", "charge", "spin"),
    [
        ({"charges": [1, 0]}, 1, None),
        ({"charges": [0.4, -1.4], "magmoms": [0.5, 0.5]}, -1, 1),
        ({"magmoms": [1, -1]}, 0, 0),
        ({"magmoms": [0, -2]}, 0, 2),
        ({"info": {"charge": -1, "multiplicity": 2}}, -1, 1),
        ({"info": {"charge": 1.0, "spin": np.int64(3)}, "magmoms": [1, 2]}, 1, 3),
    ],
)
def test_charges_and_moments_are_taken(changes, charge, spin):
    atoms = Atoms("LiH", LITHIUM_HYDRIDE, **changes)
    molecule = Molecule.from_ase(atoms, spin=1 if spin is None else None)
    assert (molecule.charge, molecule.spin) == (charge, 1 if spin is None else spin)
    with pytest.raises(ValueError, match=f"charge={charge + 2} contradicts" if charge else "is impossible"):
        Molecule.from_ase(atoms, charge=charge + 2 if charge else 1)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("H", pbc=(False, False, True), cell=[9, 9, 9]), "pbc=F F T: periodic cells are not supported"),
        (Atoms("H2", LITHIUM_HYDRIDE, magmoms=[0.5, 0.2]), r"moments of the atoms add up to 0\.7, not to a whole"),
        (Atoms("H2", LITHIUM_HYDRIDE, magmoms=[[0, 0, 1], [0, 0, 1]]), "moments of the atoms are vectors"),
        (Atoms("H2", LITHIUM_HYDRIDE, charges=[0.5, 0.2]), r"charges of the atoms add up to 0\.7"),
        (Atoms("H2", LITHIUM_HYDRIDE, charges=[np.nan, 0]), "charges of the atoms add up to nan"),
        (Atoms("HX", LITHIUM_HYDRIDE), r"atom 2 is a dummy atom \(X\)"),
        (Atoms("H", info={"charge": "one"}), r"atoms\.info\['charge'\]='one' is not a whole number"),
        (Atoms("H", info={"charge": 0.5}), r"atoms\.info\['charge'\]=0\.5 is not a whole number"),
        (Atoms("H2", LITHIUM_HYDRIDE, charges=[1, 0], info={"charge": 0}), r"info says charge=0, and its atoms add up"),
        (Atoms(), "0 symbols and 0 coordinates"),
        ([Atoms("H")], r"atoms=list is not an ase\.Atoms object"),
        ("H2O", "atoms=str is not"),
        (None, "atoms=NoneType is not"),
    ],
)
def test_other_objects_of_ase_are_refused(atoms, message):
    with pytest.raises(ValueError, match=message):
        Molecule.from_ase(atoms)


def test_molecules_of_pyscf_bring_charge_spin_and_labels():
    mol = pyscf.gto.M(atom="O1 0 0 0; H@2 0 0 1", unit="angstrom", charge=1, spin=2, basis="sto-3g")
    expected = Molecule.diatomic("O", "H", 1.0, "angstrom", charge=1, spin=2)
    molecule = Molecule.from_pyscf(mol)
    assert (molecule.symbols, molecule.charge, molecule.spin) == (("O", "H"), 1, 2)
    assert torch.allclose(molecule.nuclei, expected.nuclei, rtol=1e-8)


def helium():
    return pyscf.gto.M(atom="He", basis="sto-3g")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pyscf.gto.M(atom="He 0 0 0; ghost-He 0 0 3", basis="sto-3g"), "remove ghosts"),
        (
            lambda: pyscf.gto.M(atom="Si1 0 0 0; Si2 0 0 4", basis="ccpvdz", ecp={"Si1": "bfd"}),
            "atoms Si have different core potentials",
        ),
        (lambda: pyscf.scf.RHF(helium()), r"mol=RHF is not a PySCF molecule: give its molecule, mf\.mol"),
        (lambda: pyscf.pbc.gto.M(atom="He", basis="sto-3g", a=np.eye(3) * 5), "mol=Cell: periodic cells"),
        (lambda: pyscf.gto.Mole(atom="He"), r"mol has not been built: call mol\.build\(\) first"),
        (pyscf.gto.Mole, "mol has not been built"),
        (lambda: "He", r"mol=str is not a PySCF molecule: give a pyscf\.gto\.Mole"),
        (lambda: None, "mol=NoneType is not a PySCF molecule"),
    ],
)
def test_other_objects_of_pyscf_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        Molecule.from_pyscf(make())
