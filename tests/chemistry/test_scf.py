import pytest
import torch
from pyscf import dft, gto

from qmcnet.chemistry import scf, unrestricted
from qmcnet.chemistry.scf import gaussian_basis, hartree_fock, orthonormal_basis
from qmcnet.system.molecule import Molecule

LITHIUM_HYDRIDE = Molecule.diatomic("Li", "H", 3.015, "bohr")
HYDROGEN_ION = Molecule.diatomic("H", "H", 2.0, "bohr", charge=1, spin=1)
OXYGEN = Molecule.diatomic("O", "O", 2.28, "bohr", spin=2)
STRETCHED_HYDROGEN = Molecule.diatomic("H", "H", 8.0, "bohr")
ATOMS = ["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar"]


def mole(molecule, basis):
    atoms = list(zip(molecule.symbols, molecule.coordinates, strict=True))
    return gto.M(atom=atoms, basis=basis, charge=molecule.charge, spin=molecule.spin, unit="bohr", verbose=0)


def integral(mol, name):
    return torch.tensor(mol.intor(name))


def determinant_energy(mol, orbitals):
    one = integral(mol, "int1e_kin") + integral(mol, "int1e_nuc")
    two = integral(mol, "int2e")
    up, down = orbitals.up @ orbitals.up.T, orbitals.down @ orbitals.down.T
    total = up + down
    coulomb = torch.einsum("ijkl,ij,kl->", two, total, total) / 2
    exchange = sum(torch.einsum("ijkl,il,kj->", two, p, p) for p in (up, down)) / 2
    return float((one * total).sum() + coulomb - exchange) + mol.energy_nuc()


@pytest.mark.parametrize("method", ["rohf", "uhf"])
@pytest.mark.parametrize(
    ("molecule", "basis"), [(LITHIUM_HYDRIDE, "cc-pvtz"), (OXYGEN, "cc-pvdz"), (HYDROGEN_ION, "cc-pvdz")]
)
def test_energy_is_that_of_the_returned_determinant(molecule, basis, method):
    result = hartree_fock(molecule, basis, method)
    energy = determinant_energy(mole(molecule, basis), result.orbitals)
    assert result.energy == pytest.approx(energy, abs=1e-8)
    assert result.converged
    assert (result.basis, result.method) == (basis, method)


@pytest.mark.parametrize("method", ["rohf", "uhf"])
def test_orbitals_are_orthonormal(method):
    orbitals = hartree_fock(OXYGEN, method=method).orbitals
    overlap = integral(mole(OXYGEN, "cc-pvdz"), "int1e_ovlp")
    for coefficients, n in ((orbitals.up, OXYGEN.n_up), (orbitals.down, OXYGEN.n_down)):
        assert coefficients.dtype == torch.float64
        torch.testing.assert_close(
            coefficients.T @ overlap @ coefficients, torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-9
        )


@pytest.mark.parametrize(("bond_length", "name", "n_lost"), [(2.0, "cc-pvdz", 0), (0.1, "aug-cc-pvtz", 1)])
def test_an_orthonormal_basis_drops_what_is_linearly_dependent(bond_length, name, n_lost):
    molecule = Molecule.diatomic("H", "H", bond_length, "bohr")
    basis, coefficients = orthonormal_basis(molecule, name)
    assert coefficients.shape == (basis.n_ao, basis.n_ao - n_lost)
    overlap = integral(mole(molecule, name), "int1e_ovlp")
    unit = torch.eye(coefficients.shape[1], dtype=torch.float64)
    torch.testing.assert_close(coefficients.T @ overlap @ coefficients, unit, rtol=0, atol=1e-7)


def test_orbitals_on_a_grid_have_unit_overlap_and_the_kinetic_energy_of_the_integrals():
    mol = mole(LITHIUM_HYDRIDE, "cc-pvdz")
    orbitals = hartree_fock(LITHIUM_HYDRIDE).orbitals
    grid = dft.gen_grid.Grids(mol)
    grid.build()
    points, weights = torch.tensor(grid.coords), torch.tensor(grid.weights)
    identity = torch.eye(3, dtype=torch.float64).expand(len(points), 3, 3)
    values, slopes, _ = (part @ orbitals.up for part in orbitals.basis.derivatives(points, identity))
    overlap = torch.einsum("p,pi,pj->ij", weights, values, values)
    torch.testing.assert_close(overlap, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-5)
    kinetic = torch.einsum("p,pki,pkj->ij", weights, slopes, slopes) / 2
    expected = orbitals.up.T @ integral(mol, "int1e_kin") @ orbitals.up
    torch.testing.assert_close(kinetic, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("method", ["rohf", "uhf"])
@pytest.mark.parametrize("molecule", [Molecule.atom("H"), HYDROGEN_ION])
def test_one_electron_is_the_lowest_state_of_the_core_hamiltonian(molecule, method):
    mol = mole(molecule, "cc-pvtz")
    core, overlap = integral(mol, "int1e_kin") + integral(mol, "int1e_nuc"), integral(mol, "int1e_ovlp")
    inverse = torch.linalg.inv(torch.linalg.cholesky(overlap))
    lowest = torch.linalg.eigvalsh(inverse @ core @ inverse.T)[0]
    result = hartree_fock(molecule, "cc-pvtz", method)
    assert result.energy == pytest.approx(float(lowest) + mol.energy_nuc(), abs=1e-9)
    assert result.orbitals.down.shape == (mol.nao, 0)
    basis, up, _ = result.orbitals
    values = basis(torch.zeros(3, 3, dtype=torch.float64)) @ up
    assert values.isfinite().all() and (values != 0).all()


def test_atoms_converge_and_uhf_is_not_above_rohf():
    for symbol in ATOMS:
        molecule = Molecule.atom(symbol)
        restricted, unrestricted = (hartree_fock(molecule, method=m) for m in ("rohf", "uhf"))
        assert restricted.converged, symbol
        assert unrestricted.converged, symbol
        assert unrestricted.energy < restricted.energy + 1e-8, symbol
        for orbitals in (restricted.orbitals, unrestricted.orbitals):
            shapes = orbitals.up.shape[1], orbitals.down.shape[1]
            assert shapes == (molecule.n_up, molecule.n_down), symbol


@pytest.mark.parametrize("method", ["rohf", "uhf"])
def test_fully_polarised_electrons(method):
    molecule = Molecule.atom("Li", spin=3)
    result = hartree_fock(molecule, method=method)
    assert result.orbitals.down.shape[1] == 0
    energy = determinant_energy(mole(molecule, "cc-pvdz"), result.orbitals)
    assert result.energy == pytest.approx(energy, abs=1e-8)
    assert result.energy > hartree_fock(Molecule.atom("Li")).energy


def test_a_basis_without_empty_orbitals_works():
    result = hartree_fock(Molecule.atom("He"), "sto-3g")
    energy = determinant_energy(mole(Molecule.atom("He"), "sto-3g"), result.orbitals)
    assert result.energy == pytest.approx(energy, abs=1e-10)


def test_stretched_hydrogen_breaks_spin_symmetry_to_two_atoms():
    atom = hartree_fock(Molecule.atom("H")).energy
    assert hartree_fock(STRETCHED_HYDROGEN, method="uhf").energy == pytest.approx(2 * atom, abs=1e-4)
    assert hartree_fock(STRETCHED_HYDROGEN, method="rohf").energy > 2 * atom + 0.1


@pytest.mark.parametrize("method", ["rohf", "uhf"])
def test_second_order_solver_rescues_a_failed_iteration(method, monkeypatch):
    expected = hartree_fock(OXYGEN, method=method).energy
    monkeypatch.setattr(scf, "_DIIS_CYCLES", 2)
    rescued = hartree_fock(OXYGEN, method=method)
    assert rescued.converged
    assert rescued.energy == pytest.approx(expected, abs=1e-7)


def test_a_calculation_that_does_not_converge_warns(monkeypatch):
    monkeypatch.setattr(scf, "_DIIS_CYCLES", 1)
    monkeypatch.setattr(unrestricted, "_NEWTON_CYCLES", 1)
    with pytest.warns(UserWarning, match="uhf of O2 in cc-pvdz did not converge"):
        result = hartree_fock(OXYGEN)
    assert not result.converged
    assert result.orbitals.up.shape[1] == OXYGEN.n_up


def test_results_repeat_bit_for_bit_with_threads(solved_anew):
    from pyscf import lib

    before, torch_before = lib.num_threads(), torch.get_num_threads()
    with lib.with_omp_threads(2):
        results = [hartree_fock(Molecule.diatomic("N", "N", 2.068, "bohr")) for _ in range(2)]
    assert {r.energy for r in results} == {results[0].energy}
    assert all(torch.equal(r.orbitals.up, results[0].orbitals.up) for r in results)
    assert (lib.num_threads(), torch.get_num_threads()) == (before, torch_before)


def test_unknown_names_are_refused(recwarn):
    with pytest.raises(ValueError, match=r"method='rhf': choose one of rohf, uhf"):
        hartree_fock(LITHIUM_HYDRIDE, method="rhf")
    with pytest.raises(ValueError, match=r"basis='cc-pvnz' .* element Li: try cc-pvdz or def2-svp"):
        hartree_fock(LITHIUM_HYDRIDE, "cc-pvnz")
    with pytest.raises(ValueError, match=r"basis='cc-pvdz' .* element K: try def2-svp"):
        hartree_fock(Molecule.atom("K"))
    assert not list(recwarn)


def test_unfit_bases_are_refused():
    with pytest.raises(ValueError, match=r"basis='sto-3g' has 1 functions for 2 spin-up electrons"):
        hartree_fock(Molecule.atom("He", spin=2), "sto-3g")
    with pytest.raises(ValueError, match="l=5"):
        hartree_fock(Molecule.atom("C"), "cc-pv5z")
    with pytest.raises(ValueError, match=r"mol\.cart=True"):
        gaussian_basis(gto.M(atom="He", cart=True, verbose=0))


def test_nothing_is_printed(capfd, solved_anew):
    hartree_fock(OXYGEN)
    assert capfd.readouterr() == ("", "")
