import logging

import numpy as np
import pytest
import torch
from pyscf import tdscf
from pyscf.scf.uhf import UHF

from qmcnet.chemistry import unrestricted
from qmcnet.chemistry.scf import build_mole, default_basis, hartree_fock
from qmcnet.system.molecule import Molecule

WATER = Molecule.from_atoms([["O", 0, 0, 0], ["H", 0, 1.43, 1.107], ["H", 0, -1.43, 1.107]])


def diatomic(first, second, bond_length, spin):
    return Molecule.diatomic(first, second, bond_length, "bohr", spin=spin)


def curvatures(solution):
    """Eigenvalues of A + B, the curvature of the energy under real rotations that keep the spins."""
    (a_up, a_mixed, a_down), (b_up, b_mixed, b_down) = tdscf.uhf.get_ab(solution.to_uhf())
    up, mixed, down = (torch.tensor(a + b) for a, b in ((a_up, b_up), (a_mixed, b_mixed), (a_down, b_down)))
    n_up, n_down = up.shape[:2].numel(), down.shape[:2].numel()
    mixed = mixed.reshape(n_up, n_down)
    upper = torch.cat([up.reshape(n_up, n_up), mixed], 1)
    lower = torch.cat([mixed.T, down.reshape(n_down, n_down)], 1)
    return torch.linalg.eigvalsh(torch.cat([upper, lower]))


@pytest.mark.parametrize(
    ("molecule", "basis", "energy"),
    [
        (diatomic("O", "O", 4.0, 2), "sto-3g", -147.563066),
        (diatomic("C", "C", 3.0, 0), "sto-3g", -74.481483),
        (diatomic("C", "C", 3.0, 0), "6-31g", -75.415867),
        (diatomic("O", "O", 12.0, 2), "6-31g", -149.517268),
    ],
)
def test_instabilities_are_followed_until_the_solution_is_stable(molecule, basis, energy, caplog):
    with caplog.at_level(logging.INFO):
        result = hartree_fock(molecule, basis)
    assert result.converged
    assert result.energy == pytest.approx(energy, abs=2e-6)
    assert curvatures(result.solution)[0] > -1e-4
    assert "instabilities in a row" in caplog.text


def test_the_number_of_instabilities_is_limited_and_said(caplog, monkeypatch):
    monkeypatch.setattr(unrestricted, "_MOST_INSTABILITIES", 1)
    with caplog.at_level(logging.INFO):
        result = hartree_fock(diatomic("C", "C", 3.0, 0), "sto-3g")
    assert "may still be unstable after 1 instabilities" in caplog.text
    assert result.energy > -74.48
    assert curvatures(result.solution)[0] < -1e-3


@pytest.mark.parametrize("n_atoms", [4, 14, 19, 20])
def test_spins_alternate_along_a_chain_however_long(n_atoms):
    places = np.arange(n_atoms)[:, None] * np.array([[0.0, 0.0, 5.0]])
    signs = np.array(unrestricted._signs(np.ones(n_atoms, dtype=int), places, n_atoms % 2))
    assert signs.sum() == n_atoms % 2
    assert (signs[1:] == -signs[:-1]).all()


@pytest.mark.parametrize("ecp", [None, "ccecp"])
def test_atoms_have_the_electrons_that_core_potentials_leave(ecp):
    molecule = diatomic("Na", "Cl", 12.0, 0).with_ecp(ecp)
    mol = build_mole(molecule, default_basis(molecule))
    densities = unrestricted.antiparallel_atoms(UHF(mol))
    electrons = np.einsum("sij,ji->s", densities, mol.intor("int1e_ovlp"))
    assert electrons == pytest.approx([molecule.n_up, molecule.n_down], abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "spin", "basis"),
    [("C", "N", 1, "sto-3g"), ("N", "N", 0, "sto-3g"), ("N", "O", 1, "6-31g")],
)
def test_far_atoms_have_the_sum_of_their_energies(first, second, spin, basis, caplog):
    with caplog.at_level(logging.INFO):
        energy = hartree_fock(diatomic(first, second, 20.0, spin), basis).energy
    atoms = sum(hartree_fock(Molecule.atom(symbol), basis).energy for symbol in (first, second))
    assert energy == pytest.approx(atoms, abs=5e-6)


def test_far_groups_have_the_sum_of_their_energies_but_for_their_dipoles():
    pair = [["N", 0, 0, 0], ["H", 0, 0, 1.96], ["N", 0, 15.0, 0], ["H", 0, 15.0, 1.96]]
    triplet = hartree_fock(diatomic("N", "H", 1.96, 2), "sto-3g").energy
    assert hartree_fock(Molecule.from_atoms(pair), "sto-3g").energy == pytest.approx(2 * triplet, abs=2e-4)


def test_spins_of_neighbours_are_antiparallel_where_their_sum_allows_it():
    ring = [["H", 0, 0, 0], ["H", 3, 3, 0], ["H", 0, 3, 0], ["H", 3, 0, 0]]
    mean_field = hartree_fock(Molecule.from_atoms(ring), "sto-3g").solution.to_uhf()
    up, down = unrestricted.antiparallel_atoms(mean_field)
    assert (up - down).diagonal() == pytest.approx([1, 1, -1, -1])
    spins = torch.tensor([3, 2]).numpy()
    line = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]).numpy()
    assert unrestricted._signs(spins, line, 1) == [1, -1]
    assert unrestricted._signs(spins, line, 5) == [1, 1]


@pytest.mark.parametrize(
    ("molecule", "in_pieces"),
    [
        (WATER, False),
        (diatomic("Li", "H", 3.015, 0), False),
        (diatomic("Na", "Cl", 4.46, 0), False),
        (diatomic("F", "F", 2.668, 0), False),
        (diatomic("Li", "Li", 5.051, 0), False),
        (diatomic("O", "O", 4.0, 2), True),
        (diatomic("H", "H", 8.0, 0), True),
        (Molecule.atom("O"), False),
    ],
)
def test_only_molecules_in_pieces_are_started_from_atoms(molecule, in_pieces):
    assert unrestricted._in_pieces(build_mole(molecule, "sto-3g")) == in_pieces
