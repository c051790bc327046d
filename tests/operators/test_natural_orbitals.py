import numpy as np
import pytest
import torch

from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.operators.natural_orbitals import NaturalOrbitals, natural_occupations
from qmcnet.sampling import initial_positions
from qmcnet.system.molecule import Molecule


def in_basis(observable, orbitals):
    """Coefficients of functions of the same basis in the orthonormal orbitals of the observable."""
    return torch.linalg.pinv(observable.coefficients) @ orbitals


def density_matrices(observable, network, snapshots, states):
    """Average over snapshots, (B, 2, n, n)."""
    total, n = 0.0, observable.coefficients.shape[1]
    for seed, positions in enumerate(snapshots):
        found = states(network, positions, seed)
        total = total + found.local(observable(found))[..., 0, 0]
    return (total / len(snapshots)).unflatten(-1, (2, n, n))


@pytest.fixture(scope="module")
def of_lithium_hydride(lithium_hydride, states):
    """The observable, and density matrices of each walker, (B, 2, 6, 6)."""
    molecule, _, network, snapshots = lithium_hydride
    observable = NaturalOrbitals(molecule, "sto-3g")
    return observable, density_matrices(observable, network, snapshots, states)


def grouped(matrices, n_groups=32):
    """Average walkers by group, (G, 2 n^2)."""
    return torch.stack([part.mean(0).flatten() for part in matrices.tensor_split(n_groups)]).numpy()


def test_the_density_matrix_of_a_determinant_projects_on_its_orbitals(lithium_hydride, of_lithium_hydride, assert_mean):
    orbitals, (observable, matrices) = lithium_hydride[1], of_lithium_hydride
    assert len(observable.components) == 2 * 6 * 6
    assert (observable.components[1], observable.components[-6]) == ("up 0 1", "down 5 0")
    occupied = in_basis(observable, orbitals.up)
    expected = (occupied @ occupied.T).expand(2, 6, 6)
    assert_mean(matrices[None].flatten(2), expected.flatten(), largest_error=0.03)
    found, errors = natural_occupations(grouped(matrices))
    exact = torch.tensor([1, 1, 0, 0, 0, 0]) * torch.tensor([[1], [1], [2]])
    assert errors.max() < 0.04
    assert (abs(found - exact.numpy()) < 4 * errors).all()


def test_behind_core_potentials_the_basis_is_the_one_of_their_mean_field():
    carbon, points = Molecule.atom("C").with_ecp("ccecp"), torch.ones(2, 3, dtype=torch.float64)
    expected = hartree_fock(carbon).orbitals.basis(points)
    torch.testing.assert_close(NaturalOrbitals(carbon).basis(points), expected)
    assert NaturalOrbitals(carbon, "cc-pvdz").basis(points).shape != expected.shape


def assert_pulls(pulls, widest):
    """Pulls of many independent estimates, (R, 3, n), have mean zero and are hardly wider than normal ones."""
    n_pulls, mean, width = len(pulls), pulls.mean(0), pulls.std(0)
    assert (abs(mean) < 4 * width / n_pulls**0.5).all(), mean
    assert (width > 0.45).all(), width
    assert (width < widest).all(), width


def test_occupations_of_a_determinant_are_right_on_average(of_lithium_hydride):
    # 40 sets of 100 walkers; the local matrices have heavy tails, so that errors scatter.
    _, matrices = of_lithium_hydride
    exact = np.array([1, 1, 0, 0, 0, 0]) * np.array([[1], [1], [2]])
    found = [natural_occupations(grouped(part)) for part in matrices.split(100)]
    assert_pulls(np.stack([(values - exact) / errors for values, errors in found]), widest=1.5)


@pytest.mark.parametrize(
    ("occupied", "n", "noise", "complex"),
    [(2, 6, 0.003, False), (2, 6, 0.003, True), (3, 12, 0.02, False), (5, 25, 0.01, False)],
)
def test_noise_moves_no_occupation_of_a_determinant(occupied, n, noise, complex):
    generator, n_groups = np.random.default_rng(5), 32
    exact = (np.arange(n) < occupied) * np.array([[1.0], [1.0], [2.0]])
    pulls = []
    for _ in range(60):
        shape = (n_groups, 2, n, n)
        matrices = generator.normal(size=shape) + (1j * generator.normal(size=shape) if complex else 0)
        turn = np.linalg.qr(matrices[0, 0])[0]
        mean = (turn * exact[0]) @ turn.conj().T
        values, errors = natural_occupations((mean + noise * n_groups**0.5 * matrices).reshape(n_groups, -1))
        pulls.append((values - exact) / errors)
    # A width of 1.1 is estimated to 1 / sqrt(120).
    assert_pulls(np.stack(pulls), widest=1.1 * (1 + 4 / 120**0.5))


def test_occupations_that_are_apart_have_the_error_of_expectation_values():
    generator, n_groups = np.random.default_rng(6), 32
    exact, noise = np.array([0.9, 0.6, 0.2]), 1e-4
    found = [
        natural_occupations(
            np.stack([np.diag(exact) + noise * generator.normal(size=(2, 3, 3)) for _ in range(n_groups)]).reshape(
                32, -1
            )
        )
        for _ in range(50)
    ]
    values, errors = (np.stack(parts)[:, :2] for parts in zip(*found, strict=True))
    assert errors.mean() == pytest.approx(noise / n_groups**0.5, rel=0.03)
    assert values.std(0).mean() == pytest.approx(noise / n_groups**0.5, rel=0.15)
    assert abs(values.mean(0) - exact).max() < 4 * noise / n_groups**0.5 / 50**0.5


@pytest.mark.parametrize(("n_groups", "known"), [(1, False), (2, False), (3, True), (5, True), (31, True)])
def test_few_groups_have_occupations_and_maybe_errors(n_groups, known):
    generator = np.random.default_rng(7)
    matrices = np.diag([0.9, 0.4]) + 1e-3 * generator.normal(size=(n_groups, 2, 2, 2))
    values, errors = natural_occupations(matrices.reshape(n_groups, -1))
    assert values[:2] == pytest.approx(np.array([[0.9, 0.4]] * 2), abs=0.01)
    assert np.isfinite(errors).all() == known


def test_an_open_shell_has_different_matrices_for_the_spins(determinants, states, sampled, assert_mean):
    molecule = Molecule.atom("Li")
    mean_field = hartree_fock(molecule, "sto-3g", "rohf")
    orbitals, log_prob = mean_field.orbitals, excited_determinants(mean_field, 1, "ordered", 0).log_prob

    def occupied(positions):
        return orbitals.basis(positions) @ orbitals.up

    network = determinants(occupied, [[(1.0, (0, 1), (0,))]], molecule)
    start = initial_positions(molecule, 3000, torch.Generator().manual_seed(0), torch.float64, "cpu")
    observable = NaturalOrbitals(molecule, "sto-3g")
    matrices = density_matrices(observable, network, sampled(log_prob, start, 6), states)
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

    network = determinants(pair, [[(c_first, (0,), (0,)), (-c_second, (1,), (1,))]], molecule)
    start = initial_positions(molecule, 8000, torch.Generator().manual_seed(0), torch.float64, "cpu")
    snapshots = sampled(lambda positions: 2 * network(positions)[1], start, 6)
    matrices = density_matrices(observable, network, snapshots, states)
    mean, error = natural_occupations(grouped(matrices))
    assert error.max() < 0.03
    expected = torch.stack([weights, weights, 2 * weights]).numpy()
    assert (abs(mean - expected) < 4 * error).all()


def test_complex_matrices_have_the_occupations_of_their_hermitian_part():
    generator = torch.Generator().manual_seed(0)
    occupations = torch.tensor([[0.9, 0.3, 0.0], [1.0, 0.5, 0.2]], dtype=torch.float64)
    vectors = torch.linalg.qr(torch.randn(2, 3, 3, generator=generator, dtype=torch.complex128))[0]
    matrices = vectors @ torch.diag_embed(occupations).to(vectors) @ vectors.mH
    noise = torch.randn(2, 3, 3, generator=generator, dtype=torch.complex128)
    found = natural_occupations((matrices + noise - noise.mH).flatten()[None].numpy())[0]
    assert found[:2] == pytest.approx(occupations.numpy(), abs=1e-12)
    assert found[2].sum() == pytest.approx(occupations.sum().item(), abs=1e-12)
