from copy import deepcopy

import pytest
import torch
from qmcnet.chemistry.casscf_orbitals import CasscfOrbitals

from qmcnet import Molecule
from qmcnet.ansatz.slater_jastrow import SlaterJastrow
from qmcnet.chemistry.casscf import casscf

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


def positions(*shape, seed=0):
    return torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def determinants(orbitals, walkers):
    up, down = orbitals(walkers)
    return up.det() * down.det()


@each_space
def test_all_determinants_add_up_to_the_wavefunction(space, solve):
    molecule, electrons, active = space
    result, walkers = solve(*space), positions(20, molecule.n_electrons)
    orbitals = CasscfOrbitals(result, len(result.coefficients))
    assert (result.coefficients < 0).any()
    wavefunction = SlaterJastrow(
        molecule,
        basis="6-31g",
        method="casscf",
        active_electrons=electrons,
        active_orbitals=active,
        ci_threshold=THRESHOLD,
        jastrow="none",
        nuclear_cusp=False,
        dtype=torch.float64,
    )
    sign, log_abs = wavefunction(walkers)
    total = determinants(orbitals, walkers).sum(-1)
    ratio = total / (sign * log_abs.exp())
    assert (sign > 0).any() and (sign < 0).any()
    torch.testing.assert_close(ratio, torch.ones(20, dtype=torch.float64), rtol=0, atol=1e-8)
    torch.testing.assert_close(orbitals.log_prob(walkers), 2 * log_abs, rtol=0, atol=1e-8)


@each_space
def test_each_determinant_comes_with_its_coefficient(space, solve):
    result, walkers = solve(*space), positions(5, space[0].n_electrons)
    orbitals, count = CasscfOrbitals(result, 4), min(4, len(result.coefficients))
    values, n_up = result.basis(walkers) @ result.orbitals, space[0].n_up
    rows = list(zip(result.coefficients, result.up, result.down, strict=True))[:count]
    expected = [c * values[:, :n_up, up].det() * values[:, n_up:, down].det() for c, up, down in rows]
    torch.testing.assert_close(determinants(orbitals, walkers), torch.stack(expected, -1), rtol=1e-9, atol=0)
    assert orbitals.coefficients == tuple(result.coefficients[:count].tolist())


@each_space
def test_all_orbitals_of_a_determinant_shrink_alike(space, solve):
    result, walkers = solve(*space), positions(5, space[0].n_electrons)
    orbitals = CasscfOrbitals(result, 4)
    for scaled, plain in zip(orbitals(walkers), orbitals.determinants(walkers), strict=True):
        expected = result.coefficients[:4, None, None].abs() ** (1 / space[0].n_electrons)
        torch.testing.assert_close(scaled.abs(), expected * plain.abs(), rtol=1e-12, atol=1e-14)


def test_the_density_is_that_of_the_sum_of_the_kept_determinants(solve):
    orbitals, walkers = CasscfOrbitals(solve(CARBON, 4, 5), 3), positions(20, 6)
    up, down = orbitals(walkers)
    expected = (up.det() * down.det()).sum(-1).square().log()
    assert torch.allclose(orbitals.log_prob(walkers), expected, rtol=0, atol=1e-10)
    assert not torch.allclose(CasscfOrbitals(solve(CARBON, 4, 5), 2).log_prob(walkers), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("n_network", "n_kept"), [(1, 1), (4, 4), (6, 6), (7, 1), (16, 4), (10, 5), (12, 6)])
def test_each_determinant_gets_an_equal_share_of_the_network(n_network, n_kept, solve):
    result = solve(CARBON, 4, 5)
    assert len(result.coefficients) == 6
    up, down = CasscfOrbitals(result, n_network)(positions(2, 6))
    assert up.shape == (2, n_kept, 4, 4)
    assert down.shape == (2, n_kept, 2, 2)


@pytest.mark.parametrize("molecule", [Molecule.atom("H"), Molecule.atom("Li")], ids=["H", "Li"])
def test_the_smallest_spaces_are_hartree_fock(molecule):
    result, walkers = casscf(molecule, "6-31g", 1, 1), positions(4, molecule.n_electrons)
    orbitals = CasscfOrbitals(result, 2)
    torch.testing.assert_close(orbitals.log_prob(walkers), orbitals.determinants.log_prob(walkers))


def test_positions_may_have_any_leading_axes(solve):
    orbitals, walkers = CasscfOrbitals(solve(CARBON, 4, 5), 4), positions(2, 3, 6)
    for whole, rows in zip(orbitals(walkers), orbitals(walkers.flatten(0, 1)), strict=True):
        torch.testing.assert_close(whole.flatten(0, 1), rows, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(orbitals.log_prob(walkers).flatten(), orbitals.log_prob(walkers.flatten(0, 1)))


def test_an_electron_far_away_has_no_density_rather_than_an_undefined_one(solve):
    walkers = positions(2, 4).float()
    walkers[0, 0] = 1000
    log_prob = deepcopy(CasscfOrbitals(solve(BERYLLIUM, 2, 4), 4)).float().log_prob(walkers)
    assert log_prob.dtype == torch.float32
    assert log_prob[0] == -torch.inf
    assert log_prob[1].isfinite()
