"""The forward back end on whole wavefunctions: equal to the reference and to finite differences."""

import members
import pytest
import torch

from qmcnet.ansatz import Psiformer
from qmcnet.laplacian import forward_laplacian
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
MOLECULES = {
    "H": Molecule.atom("H"),
    "H2+": Molecule.diatomic("H", "H", 2.0, "bohr", charge=1, spin=1),
    "He": Molecule.atom("He"),
    "He triplet": Molecule.atom("He", spin=2),
    "Li": Molecule.atom("Li"),
    "LiH": Molecule.diatomic("Li", "H", 3.015, "bohr"),
    "N": Molecule.atom("N"),
    "N2": Molecule.diatomic("N", "N", 2.068, "bohr"),
}


SIZES = members.sizes()
each_ansatz = pytest.mark.parametrize("ansatz", list(SIZES))


def network(ansatz, molecule, **options):
    """Build a small network and move its parameters away from values that some share."""
    psi = ansatz(molecule, **SIZES[ansatz], n_determinants=2, seed=4, dtype=DOUBLE, **options).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in psi.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, dtype=DOUBLE, generator=generator))
    return psi


def log_psi_of(psi):
    """The logarithms of its states, as a back end differentiates them, with the signs beside them."""
    return NaturalStates(psi).log_psi


def walkers(molecule, n_walkers):
    generator = torch.Generator().manual_seed(8)
    points = torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)
    return points + molecule.nuclei.mean(0)


def central_differences(function, positions, step=2e-3):
    """Return gradient and Laplacian by differences of fourth order."""
    moves = step * torch.eye(positions[0].numel(), dtype=DOUBLE).unflatten(1, positions.shape[1:])
    value = function(positions)
    at = {
        k: function((positions[:, None] + k * moves).flatten(0, 1)).unflatten(0, (len(positions), -1))
        for k in (-2, -1, 1, 2)
    }
    gradient = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    laplacian = (16 * (at[1] + at[-1]) - (at[2] + at[-2]) - 30 * value[:, None]).sum(1) / (12 * step**2)
    return gradient.movedim(1, -1).reshape(*value.shape, *positions.shape[1:]), laplacian


@pytest.fixture
def assert_all_equal(second_derivatives):
    """Compare the forward back end with autograd, and where no node is near with finite differences of psi itself."""

    def compare(psi, positions):
        log_psi, nuclei = log_psi_of(psi), psi.molecule.nuclei
        result = forward_laplacian(log_psi, positions)
        reference = second_derivatives(lambda r: log_psi(r)[0], positions)
        value, extra = log_psi(positions)
        torch.testing.assert_close(result.value, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(result.extra, extra, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)
        # log|psi| is singular at nodes, and the angle of psi jumps: psi over its modulus at the walker does neither.
        steepness = reference.gradient.abs().flatten(-2).norm(dim=-1).reshape(len(positions), -1)
        far = steepness.amax(1).argsort()[:2]
        sign, scale = psi(positions[far], nuclei)

        def values(r):
            phase, log_abs = psi(r, nuclei)
            repeated = scale.repeat_interleave(len(r) // 2, 0)
            return phase * torch.exp(log_abs - repeated)

        gradient, laplacian = (
            part.reshape(2, -1, *part.shape[scale.ndim :]) for part in central_differences(values, positions[far])
        )
        sign, found = sign.reshape(2, -1), result.gradient[far].reshape(2, -1, *positions.shape[1:])
        torch.testing.assert_close(found, gradient / sign[..., None, None], rtol=1e-5, atol=1e-5)
        curvature = result.laplacian[far].reshape(2, -1) + found.square().sum((-2, -1))
        torch.testing.assert_close(curvature, laplacian / sign, rtol=1e-4, atol=1e-4)
        assert not result.gradient.is_complex() or result.gradient.imag.abs().max() > 1e-3

    return compare


def test_every_kind(kind, assert_all_equal):
    assert_all_equal(network(kind.ansatz, kind.molecule, **kind.options), walkers(kind.molecule, 3))


@each_ansatz
@pytest.mark.parametrize("name", ["H", "H2+", "Li"])
@pytest.mark.parametrize(("full", "complex"), [(True, False), (False, True)], ids=["full", "complex blocks"])
def test_other_numbers_of_electrons(ansatz, name, full, complex, assert_all_equal):
    psi = network(ansatz, MOLECULES[name], full_determinants=full, complex=complex, jastrow="cusp")
    assert_all_equal(psi, walkers(MOLECULES[name], 3))


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("n_layers", [1, 4])
def test_psiformers_with_and_without_normalisation(layer_norm, n_layers, assert_all_equal):
    options = {"n_determinants": 2, "n_heads": 2, "head_size": 4, "perceptron_size": 6, "dtype": DOUBLE}
    psi = Psiformer(MOLECULES["LiH"], n_layers=n_layers, layer_norm=layer_norm, **options).requires_grad_(False)
    positions = walkers(MOLECULES["LiH"], 2)
    assert_all_equal(psi, positions)


@each_ansatz
@pytest.mark.parametrize(("name", "full", "envelope"), [("N2", True, "isotropic"), ("N", False, "diagonal")])
def test_larger_systems(ansatz, name, full, envelope, assert_all_equal):
    psi = network(ansatz, MOLECULES[name], full_determinants=full, envelope=envelope, jastrow="cusp")
    assert_all_equal(psi, walkers(MOLECULES[name], 2))


@each_ansatz
@pytest.mark.parametrize("name", ["He", "He triplet", "LiH"])
def test_walkers_do_not_see_one_another(ansatz, name):
    molecule = MOLECULES[name]
    psi, positions = log_psi_of(network(ansatz, molecule, jastrow="cusp")), walkers(molecule, 4)
    whole, part = forward_laplacian(psi, positions), forward_laplacian(psi, positions[2:3])
    torch.testing.assert_close(whole.laplacian[2:3], part.laplacian, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(whole.gradient[2:3], part.gradient, rtol=1e-11, atol=1e-11)


@each_ansatz
def test_single_precision_is_close_to_double(ansatz):
    molecule = MOLECULES["LiH"]
    double = network(ansatz, molecule, jastrow="cusp")
    positions = walkers(molecule, 20)
    expected = forward_laplacian(log_psi_of(double), positions)
    result = forward_laplacian(log_psi_of(double.float()), positions.float())
    assert result.laplacian.dtype == torch.float32
    scale = expected.laplacian.abs().clamp(min=1)
    error = ((result.laplacian.double() - expected.laplacian) / scale).abs()
    assert 0 < error.median() < 1e-4
