import math
from copy import deepcopy

import pytest
import torch
from pyscf import gto

from qmcnet import Molecule
from qmcnet.ansatz.slater_jastrow import SlaterJastrow
from qmcnet.chemistry import targets
from qmcnet.chemistry.casscf import casscf
from qmcnet.chemistry.determinants import Determinants
from qmcnet.chemistry.scf import gaussian_basis
from qmcnet.chemistry.targets import casscf_targets

BERYLLIUM, CARBON = Molecule.atom("Be"), Molecule.atom("C")
LITHIUM_HYDRIDE = Molecule.diatomic("Li", "H", 3.015, "bohr")
THRESHOLD = 1e-6
SPACES = {"Be": (BERYLLIUM, 2, 4), "C": (CARBON, 4, 5), "LiH": (LITHIUM_HYDRIDE, 4, 4)}
each_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@pytest.fixture(scope="module")
def solve():
    """CASSCF in 6-31g, once per active space."""
    results = {}

    def result(molecule, electrons, orbitals):
        key = (molecule.formula, electrons, orbitals)
        if key not in results:
            results[key] = casscf(molecule, "6-31g", electrons, orbitals, THRESHOLD)
        return results[key]

    return result


@pytest.fixture
def leading(monkeypatch):
    """The leading determinants of a ground state, of those with coefficients above the threshold of these tests."""
    monkeypatch.setattr(targets, "_SMALLEST_COEFFICIENT", THRESHOLD)

    def choose(molecule, electrons, orbitals, n_determinants):
        return casscf_targets(molecule, "6-31g", (electrons, orbitals), 1, n_determinants)

    return choose


def positions(*shape, seed=0):
    return torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def products(orbitals, walkers):
    up, down = orbitals(walkers)
    return up.det() * down.det()


@each_space
def test_all_determinants_add_up_to_the_wavefunction(space, solve, leading):
    molecule, electrons, active = space
    result, walkers = solve(*space), positions(20, molecule.n_electrons)
    orbitals = leading(*space, len(result.coefficients))
    assert (result.coefficients < 0).any()
    wavefunction = SlaterJastrow(
        molecule,
        basis="6-31g",
        method="casscf",
        active_electrons=electrons,
        active_orbitals=active,
        ci_threshold=THRESHOLD,
        jastrow="none",
        nuclear_cusp="none",
        dtype=torch.float64,
    )
    sign, log_abs = (part[:, 0] for part in wavefunction(walkers, molecule.nuclei))
    total = products(orbitals, walkers).sum(-1)
    ratio = total / (sign * log_abs.exp())
    assert (sign > 0).any() and (sign < 0).any()
    torch.testing.assert_close(ratio, torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(orbitals.log_prob(walkers), 2 * log_abs, rtol=0, atol=1e-8)


@each_space
def test_each_determinant_comes_with_its_coefficient(space, solve, leading):
    result, walkers = solve(*space), positions(5, space[0].n_electrons)
    orbitals, count = leading(*space, 4), min(4, len(result.coefficients))
    values, n_up = result.basis(walkers) @ result.orbitals, space[0].n_up
    rows = list(zip(result.coefficients, result.up, result.down, strict=True))[:count]
    expected = [c * values[:, :n_up, up].det() * values[:, n_up:, down].det() for c, up, down in rows]
    torch.testing.assert_close(products(orbitals, walkers), torch.stack(expected, -1), rtol=1e-9, atol=0)
    assert torch.equal(orbitals.coefficients, result.coefficients[:count])
    assert len(orbitals.determinants) == orbitals.n_states == 1


@each_space
def test_all_orbitals_of_a_determinant_shrink_alike(space, solve, leading):
    result, walkers = solve(*space), positions(5, space[0].n_electrons)
    orbitals = leading(*space, 4)
    unscaled = Determinants(result.basis, result.orbitals, result.orbitals, orbitals.determinants)
    for scaled, plain in zip(orbitals(walkers), unscaled(walkers), strict=True):
        expected = result.coefficients[:4, None, None].abs() ** (1 / space[0].n_electrons)
        torch.testing.assert_close(scaled.abs(), expected * plain.abs(), rtol=1e-12, atol=1e-14)


def test_the_density_is_that_of_the_sum_of_the_kept_determinants(leading):
    orbitals, walkers = leading(CARBON, 4, 5, 3), positions(20, 6)
    up, down = orbitals(walkers)
    expected = (up.det() * down.det()).sum(-1).square().log()
    assert torch.allclose(orbitals.log_prob(walkers), expected, rtol=0, atol=1e-10)
    assert not torch.allclose(leading(CARBON, 4, 5, 2).log_prob(walkers), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_network", "n_kept"), [(1, 1), (4, 4), (6, 6), (7, 6), (16, 6)])
def test_each_determinant_of_the_network_gets_one_and_their_sum_stays(n_network, n_kept, solve, leading):
    result, walkers = solve(CARBON, 4, 5), positions(5, 6)
    assert len(result.coefficients) == 6
    orbitals = leading(CARBON, 4, 5, n_network)
    up, down = orbitals(walkers)
    assert (up.shape, down.shape) == ((5, n_network, 4, 4), (5, n_network, 2, 2))
    assert len(set(orbitals.determinants[0])) == n_kept
    values = result.basis(walkers) @ result.orbitals
    kept = list(zip(result.coefficients, result.up, result.down, strict=True))[:n_kept]
    expected = sum(c * values[:, :4, up].det() * values[:, 4:, down].det() for c, up, down in kept)
    torch.testing.assert_close((up.det() * down.det()).sum(-1), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("molecule", [Molecule.atom("H"), Molecule.atom("Li")], ids=["H", "Li"])
def test_the_smallest_spaces_are_hartree_fock(molecule, leading):
    result, walkers = casscf(molecule, "6-31g", 1, 1), positions(4, molecule.n_electrons)
    values, n_up = result.basis(walkers) @ result.orbitals, molecule.n_up
    spins = values[:, :n_up, :n_up], values[:, n_up:, : molecule.n_down]
    expected = sum(2 * torch.linalg.slogdet(spin).logabsdet for spin in spins)
    torch.testing.assert_close(leading(molecule, 1, 1, 2).log_prob(walkers), expected)


def test_positions_may_have_any_leading_axes(leading):
    orbitals, walkers = leading(CARBON, 4, 5, 4), positions(2, 3, 6)
    for whole, rows in zip(orbitals(walkers), orbitals(walkers.flatten(0, 1)), strict=True):
        torch.testing.assert_close(whole.flatten(0, 1), rows, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(orbitals.log_prob(walkers).flatten(), orbitals.log_prob(walkers.flatten(0, 1)))


def test_an_electron_far_away_has_no_density_rather_than_an_undefined_one(leading):
    walkers = positions(2, 4).float()
    walkers[0, 0] = 1000
    log_prob = deepcopy(leading(BERYLLIUM, 2, 4, 4)).float().log_prob(walkers)
    assert log_prob.dtype == torch.float32
    assert log_prob[0] == -torch.inf
    assert log_prob[1].isfinite()


WATER = gto.M(atom="O 0 0 0.2; H 1.4 0 -0.9; H -1.4 0 -0.9", basis="cc-pvdz", unit="bohr", verbose=0)


def orbitals_of(n_up, n_down):
    """One determinant of any orbitals."""
    generator, basis = torch.Generator().manual_seed(2), gaussian_basis(WATER)
    up, down = (torch.randn(basis.n_ao, n, generator=generator, dtype=torch.float64) for n in (n_up, n_down))
    return Determinants(basis, up, down, [[(tuple(range(n_up)), tuple(range(n_down)))]])


def test_orbitals_take_the_electrons_of_their_spin():
    orbitals, walkers = orbitals_of(3, 2), positions(4, 5)
    up, down = (matrix.squeeze(1) for matrix in orbitals(walkers))
    values = torch.tensor(WATER.eval_gto("GTOval_sph", walkers.reshape(-1, 3).numpy())).reshape(4, 5, -1)
    torch.testing.assert_close(up, values[:, :3] @ orbitals.up)
    torch.testing.assert_close(down, values[:, 3:] @ orbitals.down)


def test_log_prob_is_the_square_of_two_determinants():
    orbitals, walkers = orbitals_of(3, 2), positions(4, 5)
    up, down = (matrix.squeeze(1) for matrix in orbitals(walkers))
    product = torch.linalg.det(up) * torch.linalg.det(down)
    torch.testing.assert_close(orbitals.log_prob(walkers), product.square().log())


def test_exchange_changes_the_sign_within_a_spin_only():
    orbitals, walkers = orbitals_of(3, 2), positions(4, 5)
    same_spin, other_spin = walkers[:, [1, 0, 2, 3, 4]], walkers[:, [3, 1, 2, 0, 4]]
    torch.testing.assert_close(torch.linalg.det(orbitals(same_spin)[0]), -torch.linalg.det(orbitals(walkers)[0]))
    torch.testing.assert_close(orbitals.log_prob(same_spin), orbitals.log_prob(walkers))
    assert ((orbitals.log_prob(other_spin) - orbitals.log_prob(walkers)).abs() > 1e-3).all()


def test_log_prob_falls_as_twice_the_log_distance_of_equal_spins():
    orbitals, walkers = orbitals_of(3, 2), positions(4, 5)

    def at_distance(distance, i, j):
        moved = walkers.clone()
        moved[:, i] = moved[:, j] + distance * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
        return orbitals.log_prob(moved)

    drop = at_distance(1e-5, 0, 1) - at_distance(1e-6, 0, 1)
    torch.testing.assert_close(drop, torch.full_like(drop, 2 * math.log(10)), rtol=1e-3, atol=0)
    assert (at_distance(0.0, 0, 1) < at_distance(1e-6, 0, 1) - 20).all()
    assert (at_distance(0.0, 0, 3) > at_distance(1e-6, 0, 3) - 1e-3).all()


@pytest.mark.parametrize(("n_up", "n_down"), [(2, 0), (0, 2), (1, 0)])
def test_one_spin_alone_works(n_up, n_down):
    orbitals, walkers = (
        orbitals_of(n_up, n_down),
        positions(4, n_up + n_down),
    )
    up, down = (matrix.squeeze(1) for matrix in orbitals(walkers))
    assert up.shape == (4, n_up, n_up)
    assert down.shape == (4, n_down, n_down)
    expected = torch.linalg.det(up if n_up else down).square().log()
    torch.testing.assert_close(orbitals.log_prob(walkers), expected)


def test_log_prob_can_be_differentiated():
    orbitals, walkers = orbitals_of(3, 2), positions(2, 5)
    assert torch.autograd.gradcheck(orbitals.log_prob, walkers.requires_grad_(), eps=1e-6, atol=1e-6)
