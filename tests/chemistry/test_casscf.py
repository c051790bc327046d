import pytest
import torch
from pyscf import ao2mo, fci, gto, scf

from qmcnet.chemistry import casscf as module
from qmcnet.chemistry.casscf import casscf, leading_of_roots
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.system.molecule import Molecule

HELIUM, LITHIUM, BERYLLIUM = Molecule.atom("He"), Molecule.atom("Li"), Molecule.atom("Be")
LITHIUM_HYDRIDE = Molecule.diatomic("Li", "H", 3.015, "bohr")
STRETCHED_HYDROGEN = Molecule.diatomic("H", "H", 8.0, "bohr")


def expansion_energy(molecule, basis, result):
    """Energy of the determinants of a result by the Hamiltonian matrix among all determinants of its orbitals."""
    atoms = list(zip(molecule.symbols, molecule.coordinates, strict=True))
    mol = gto.M(atom=atoms, basis=basis, charge=molecule.charge, spin=molecule.spin, unit="bohr", verbose=0)
    orbitals = result.orbitals.numpy()
    n = orbitals.shape[1]
    one = orbitals.T @ scf.hf.get_hcore(mol) @ orbitals
    two = ao2mo.kernel(mol, orbitals)
    n_up, n_down = result.up.shape[1], result.down.shape[1]
    vector = torch.zeros(fci.cistring.num_strings(n, n_up), fci.cistring.num_strings(n, n_down), dtype=torch.float64)
    for c, up, down in zip(result.coefficients, result.up.tolist(), result.down.tolist(), strict=True):
        strings = [sum(1 << i for i in occupied) for occupied in (up, down)]
        vector[fci.cistring.str2addr(n, n_up, strings[0]), fci.cistring.str2addr(n, n_down, strings[1])] = c
    electrons = (n_up, n_down)
    energy = fci.direct_spin1.energy(one, two, vector.numpy(), n, electrons) / float(vector.square().sum())
    return energy + mol.energy_nuc(), fci.spin_op.spin_square(vector.numpy(), n, electrons)[0]


@pytest.mark.parametrize(
    ("molecule", "electrons", "orbitals", "basis"),
    [
        (BERYLLIUM, 2, 4, "6-31g"),
        (LITHIUM_HYDRIDE, 4, 5, "6-31g"),
        (LITHIUM, 3, 5, "6-31g"),
        (Molecule.atom("C"), 4, 4, "6-31g"),
        (Molecule.atom("O", spin=0), 6, 4, "cc-pvdz"),  # in a small basis it takes all cycles
        (Molecule.atom("Li", spin=3), 3, 4, "6-31g"),
    ],
    ids=["Be", "LiH", "Li", "C", "O singlet", "Li quartet"],
)
def test_energy_and_spin_are_those_of_the_returned_determinants(molecule, electrons, orbitals, basis):
    result = casscf(molecule, basis, electrons, orbitals)
    energy, spin_square = expansion_energy(molecule, basis, result)
    # The singlet of oxygen is one of five of the same energy: whether it counts as converged hangs on rounding.
    assert result.converged or molecule == Molecule.atom("O", spin=0)
    assert result.energy == pytest.approx(energy, abs=1e-8)
    assert spin_square == pytest.approx(molecule.spin / 2 * (molecule.spin / 2 + 1), abs=1e-4)
    assert result.energy <= hartree_fock(molecule, basis, "rohf").energy + 1e-8
    assert (result.up.shape[1], result.down.shape[1]) == (molecule.n_up, molecule.n_down)


def test_all_orbitals_give_full_configuration_interaction():
    mol = gto.M(atom="He", basis="cc-pvdz", verbose=0)
    expected = fci.FCI(scf.RHF(mol).run()).kernel()[0]
    assert casscf(HELIUM, "cc-pvdz", 2, 5).energy == pytest.approx(expected, abs=1e-8)


def test_one_orbital_for_each_electron_pair_is_hartree_fock():
    result = casscf(LITHIUM, "cc-pvdz", 1, 1)
    assert result.energy == pytest.approx(hartree_fock(LITHIUM, method="rohf").energy, abs=1e-8)
    assert (result.up.tolist(), result.down.tolist()) == ([[0, 1]], [[0]])
    assert result.coefficients.abs().tolist() == pytest.approx([1.0])


def test_two_orbitals_dissociate_hydrogen_without_breaking_spin():
    result = casscf(STRETCHED_HYDROGEN, "cc-pvdz", 2, 2)
    assert result.energy == pytest.approx(2 * hartree_fock(Molecule.atom("H")).energy, abs=1e-4)
    # Natural orbitals: the two ways to put a pair into one orbital, with equal weights and opposite signs.
    first, second = result.coefficients[:2].tolist()
    assert (abs(first), first * second) == (pytest.approx(0.5**0.5, abs=0.02), pytest.approx(-0.5, abs=1e-3))
    assert result.up[:2].tolist() == result.down[:2].tolist()


def test_a_singlet_is_asked_of_an_atom_whose_ground_state_is_a_triplet():
    singlet, triplet = (casscf(Molecule.atom("O", spin=spin), "cc-pvdz", 6, 4).energy for spin in (0, 2))
    assert 0.05 < singlet - triplet < 0.12  # 1D over 3P: 0.072 hartree by experiment


def test_orbitals_are_orthonormal_and_natural():
    result = casscf(LITHIUM_HYDRIDE, "cc-pvdz", 2, 4)
    atoms = list(zip(LITHIUM_HYDRIDE.symbols, LITHIUM_HYDRIDE.coordinates, strict=True))
    overlap = torch.tensor(gto.M(atom=atoms, basis="cc-pvdz", unit="bohr").intor("int1e_ovlp"))
    assert result.orbitals.shape == (result.basis.n_ao, 5)
    identity = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(result.orbitals.T @ overlap @ result.orbitals, identity, rtol=0, atol=1e-9)
    # Of two electrons in natural orbitals, both are in the same one.
    large = result.coefficients.abs() > 1e-3
    assert large.sum() >= 4
    assert torch.equal(result.up[large], result.down[large])


def test_determinants_are_distinct_sorted_and_hold_the_core():
    result = casscf(Molecule.atom("C"), "cc-pvdz", 2, 4)
    assert torch.equal(result.up[:, :2], torch.tensor([0, 1]).expand(len(result.up), 2))
    assert (torch.diff(result.up) > 0).all()
    assert len(torch.unique(torch.cat([result.up, result.down], 1), dim=0)) == len(result.coefficients) == 6
    assert result.coefficients.square().sum().item() == pytest.approx(1, abs=1e-10)


def test_a_threshold_keeps_the_largest_determinants():
    whole, part = (casscf(BERYLLIUM, "cc-pvdz", 2, 4, threshold) for threshold in (0.0, 0.01))
    assert (len(whole.coefficients), len(part.coefficients)) == (16, 4)
    assert torch.equal(part.coefficients, whole.coefficients[:4])
    assert torch.equal(part.up, whole.up[:4])
    assert part.energy == whole.energy
    assert (torch.diff(whole.coefficients.abs()) <= 0).all()


def test_results_repeat_bit_for_bit_with_threads(solved_anew):
    from pyscf import lib

    with lib.with_omp_threads(2):
        results = [casscf(LITHIUM_HYDRIDE, "cc-pvdz", 2, 4) for _ in range(2)]
    assert {result.energy for result in results} == {results[0].energy}
    for result in results[1:]:
        assert torch.equal(result.orbitals, results[0].orbitals)
        assert torch.equal(result.coefficients, results[0].coefficients)


@pytest.mark.parametrize("electrons", [0, 1, 3, 6])
def test_electrons_that_do_not_fit_are_refused(electrons):
    with pytest.raises(ValueError, match=rf"active_electrons={electrons} of LiH must be one of \[2, 4\]"):
        casscf(LITHIUM_HYDRIDE, "cc-pvdz", electrons, 4)


def test_open_shells_must_be_active():
    with pytest.raises(ValueError, match=r"active_electrons=1 of N must be one of \[3, 5, 7\]"):
        casscf(Molecule.atom("N"), "cc-pvdz", 1, 4)


@pytest.mark.parametrize("orbitals", [0, 18 + 1])
def test_orbitals_that_do_not_fit_are_refused(orbitals):
    with pytest.raises(ValueError, match=rf"active_orbitals={orbitals}: 2 active .*'cc-pvdz' allow 1 to 18"):
        casscf(LITHIUM_HYDRIDE, "cc-pvdz", 2, orbitals)


def test_a_threshold_above_every_determinant_is_refused():
    with pytest.raises(ValueError, match=r"ci_threshold=1.5 leaves no determinant: the largest has 0.9"):
        casscf(BERYLLIUM, "cc-pvdz", 2, 4, 1.5)


def test_a_calculation_that_does_not_converge_warns(monkeypatch):
    monkeypatch.setattr(module, "_MACRO_CYCLES", 1)
    with pytest.warns(UserWarning, match=r"casscf\(2,4\) of Be in cc-pvdz did not converge"):
        assert not casscf(BERYLLIUM, "cc-pvdz", 2, 4).converged


def test_the_wrong_spin_is_refused(monkeypatch):
    monkeypatch.setattr(module, "_SPIN_TOLERANCE", -1.0)
    with pytest.raises(ValueError, match=r"<S\^2> = 0.0000 is not 0.0 of spin 0"):
        casscf(BERYLLIUM, "cc-pvdz", 2, 4)


def test_nothing_is_printed(capfd, solved_anew):
    casscf(BERYLLIUM, "cc-pvdz", 2, 4)
    assert capfd.readouterr() == ("", "")


def test_leading_determinants_of_the_lowest_roots_are_distinct_and_start_from_the_ground_state():
    ground, determinants = leading_of_roots(Molecule.atom("Be"), "6-31g", 2, 4, 4)
    assert determinants[0] == (tuple(ground.up[0].tolist()), tuple(ground.down[0].tolist())) == ((0, 1), (0, 1))
    # The triplet 2s2p comes next, three times, and each p orbital holds the electron up or down.
    assert len(set(determinants)) == 4
    for up, down in determinants[1:]:
        assert sorted([up, down]) in [[(0, 1), (0, p)] for p in (2, 3, 4)]


def test_too_few_determinants_for_the_states_are_refused():
    with pytest.raises(ValueError, match="give 4 determinants for states=5: choose a larger active space"):
        leading_of_roots(Molecule.diatomic("H", "H", 1.4, "bohr"), "6-31g", 2, 2, 5)


@pytest.mark.parametrize(("most", "n_kept"), [(1, 1), (2, 2), (3, 3), (99, 16), (None, 16)])
def test_the_energy_of_the_kept_determinants_is_theirs_alone(most, n_kept):
    result = casscf(BERYLLIUM, "6-31g", 2, 4, most=most)
    assert len(result.coefficients) == n_kept
    assert result.energy_of_kept == pytest.approx(expansion_energy(BERYLLIUM, "6-31g", result)[0], abs=1e-8)
    assert (result.energy_of_kept > result.energy + 1e-3) == (n_kept < 4)
