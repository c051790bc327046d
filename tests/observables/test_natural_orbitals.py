import pytest
import torch

from qmcnet.molecule import Molecule
from qmcnet.observables.natural_orbitals import NaturalOrbitals, natural_occupations
from qmcnet.sampling import initial_positions
from qmcnet.scf import hartree_fock


def in_basis(observable, orbitals):
    """Coefficients of functions of the same basis in the orthonormal orbitals of the observable."""
    return torch.linalg.pinv(observable.coefficients) @ orbitals


def density_matrices(observable, network, snapshots, states):
    """Average over snapshots, (B, 2, n, n)."""
    total, n = 0.0, observable.coefficients.shape[1]
    for seed, positions in enumerate(snapshots):
        found = states(network, positions, seed)
        total = total + (observable(found) / found.values[:, None])[..., 0]
    return (total / len(snapshots)).unflatten(-1, (2, n, n))


def test_the_density_matrix_of_a_determinant_projects_on_its_orbitals(lithium_hydride, states, assert_mean):
    molecule, orbitals, network, snapshots = lithium_hydride
    observable = NaturalOrbitals(molecule, "sto-3g")
    assert len(observable.components) == 2 * 6 * 6
    assert (observable.components[1], observable.components[-6]) == ("up 0 1", "down 5 0")
    matrices = density_matrices(observable, network, snapshots, states)
    occupied = in_basis(observable, orbitals.up)
    expected = (occupied @ occupied.T).expand(2, 6, 6)
    assert_mean(matrices[None].flatten(2), expected.flatten(), largest_error=0.03)
    up, down, total = natural_occupations(matrices.mean(0).flatten().numpy())
    exact = [1, 1, 0, 0, 0, 0]
    assert up == pytest.approx(exact, abs=0.08)
    assert down == pytest.approx(exact, abs=0.08)
    assert total == pytest.approx([2 * n for n in exact], abs=0.12)


def test_an_open_shell_has_different_matrices_for_the_spins(determinants, states, sampled, assert_mean):
    molecule = Molecule.atom("Li")
    orbitals = hartree_fock(molecule, "sto-3g", "rohf").orbitals

    def occupied(positions):
        return orbitals.basis(positions) @ orbitals.up

    network = determinants(occupied, [[(1.0, (0, 1), (0,))]])
    start = initial_positions(molecule, 3000, torch.Generator().manual_seed(0), torch.float64, "cpu")
    observable = NaturalOrbitals(molecule, "sto-3g")
    matrices = density_matrices(observable, network, sampled(orbitals.log_prob, start, 6), states)
    up, down = in_basis(observable, orbitals.up), in_basis(observable, orbitals.down)
    expected = torch.stack([up @ up.T, down @ down.T])
    assert_mean(matrices[None].flatten(2), expected.flatten(), largest_error=0.05)


def test_two_determinants_share_two_electrons_among_two_orbitals(determinants, states, sampled):
    molecule = Molecule.diatomic("H", "H", 2.0, "bohr")
    bonding = hartree_fock(molecule, "sto-3g", "rohf").orbitals
    observable = NaturalOrbitals(molecule, "sto-3g")
    first = in_basis(observable, bonding.up)[:, 0]
    both = torch.stack([first, torch.stack([-first[1], first[0]])], -1)
    weights = torch.tensor([0.85, 0.15], dtype=torch.float64)
    c_first, c_second = weights.sqrt().tolist()

    def pair(positions):
        return observable.orbitals(positions) @ both

    network = determinants(pair, [[(c_first, (0,), (0,)), (-c_second, (1,), (1,))]])
    start = initial_positions(molecule, 8000, torch.Generator().manual_seed(0), torch.float64, "cpu")
    snapshots = sampled(lambda positions: 2 * network(positions)[1], start, 6)
    matrices = density_matrices(observable, network, snapshots, states)
    groups = matrices.unflatten(0, (20, 400)).mean(1).flatten(1)
    occupations = torch.stack([torch.tensor(natural_occupations(group.numpy())) for group in groups])  # (20, 3, 2)
    mean, error = occupations.mean(0), occupations.std(0) / 20**0.5
    assert error.max() < 0.03
    expected = torch.stack([weights, weights, 2 * weights])
    assert ((mean - expected).abs() < 4 * error).all()


def test_complex_matrices_have_the_occupations_of_their_hermitian_part():
    generator = torch.Generator().manual_seed(0)
    occupations = torch.tensor([[0.9, 0.3, 0.0], [1.0, 0.5, 0.2]], dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(2, 3, 3, generator=generator, dtype=torch.complex128))[0]
    matrices = vectors @ torch.diag_embed(occupations).to(vectors) @ vectors.mH
    noise = torch.randn(2, 3, 3, generator=generator, dtype=torch.complex128)
    found = natural_occupations((matrices + noise - noise.mH).flatten().numpy())
    assert found[:2] == pytest.approx(occupations.numpy(), abs=1e-12)
    assert found[2].sum() == pytest.approx(occupations.sum().item(), abs=1e-12)
