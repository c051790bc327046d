"""The forward back end on whole wavefunctions: equal to the reference and to finite differences."""

import pytest
import torch

from qmcnet.ansatz import FermiNet, LapNet, Psiformer
from qmcnet.ansatz.envelopes import ENVELOPES
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.hamiltonian.molecular import LogPsi
from qmcnet.laplacian import forward_laplacian, torch_func_laplacian
from qmcnet.molecule import Molecule

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


SIZES = {
    FermiNet: {"n_layers": 3, "hidden_one": 8, "hidden_two": 4},
    Psiformer: {"n_layers": 2, "n_heads": 2, "head_size": 4, "perceptron_size": 6},
    LapNet: {"n_layers": 3, "n_heads": 2, "head_size": 4, "n_single": 2},
}
each_ansatz = pytest.mark.parametrize("ansatz", list(SIZES))


def network(ansatz, molecule, **options):
    """Build a small network and move its parameters away from values that some share."""
    psi = ansatz(molecule, **SIZES[ansatz], n_determinants=2, seed=4, dtype=DOUBLE, **options).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in psi.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, dtype=DOUBLE, generator=generator))
    return psi


def walkers(molecule, n_walkers):
    generator = torch.Generator().manual_seed(8)
    points = torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)
    return points + molecule.nuclei.mean(0)


def log_abs(psi):
    return lambda r: psi(r)[1]


def central_differences(function, positions, step=2e-3):
    """Return gradient and Laplacian by differences of fourth order."""
    moves = step * torch.eye(positions[0].numel(), dtype=DOUBLE).unflatten(1, positions.shape[1:])
    value = function(positions)
    at = {
        k: function((positions[:, None] + k * moves).flatten(0, 1)).unflatten(0, (len(positions), -1))
        for k in (-2, -1, 1, 2)
    }
    gradient = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * step)
    laplacian = (16 * (at[1] + at[-1]) - (at[2] + at[-2]) - 30 * value[:, None]).sum(-1) / (12 * step**2)
    return gradient.reshape(positions.shape), laplacian


def assert_all_equal(ansatz, molecule, n_walkers=6, **options):
    psi = log_abs(network(ansatz, molecule, **options))
    positions = walkers(molecule, n_walkers)
    result, reference = forward_laplacian(psi, positions), torch_func_laplacian(psi, positions)
    torch.testing.assert_close(result.value, psi(positions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)
    # Differences fail near nodes, where log|psi| is singular: take the walkers that are farthest from them.
    far = reference.gradient.flatten(1).norm(dim=-1).argsort()[:2]
    gradient, laplacian = central_differences(psi, positions[far])
    torch.testing.assert_close(result.gradient[far], gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.laplacian[far], laplacian, rtol=1e-4, atol=1e-4)


@each_ansatz
@pytest.mark.parametrize("full", [True, False], ids=["full", "blocks"])
@pytest.mark.parametrize("envelope", sorted(ENVELOPES))
@pytest.mark.parametrize("jastrow", sorted(JASTROWS))
def test_every_combination(ansatz, full, envelope, jastrow):
    assert_all_equal(ansatz, MOLECULES["LiH"], full_determinants=full, envelope=envelope, jastrow=jastrow)


@each_ansatz
@pytest.mark.parametrize("full", [True, False], ids=["full", "blocks"])
@pytest.mark.parametrize(("envelope", "jastrow"), [("isotropic", "cusp"), ("diagonal", "none"), ("null", "cusp")])
@pytest.mark.parametrize("name", ["H", "He triplet", "LiH"])
def test_complex_wavefunctions(ansatz, name, full, envelope, jastrow):
    options = {"full_determinants": full, "envelope": envelope, "jastrow": jastrow, "complex": True}
    psi, positions = network(ansatz, MOLECULES[name], **options), walkers(MOLECULES[name], 6)
    result, reference = forward_laplacian(LogPsi(psi), positions), torch_func_laplacian(LogPsi(psi), positions)
    torch.testing.assert_close(result.value, LogPsi(psi)(positions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)
    # exp(log psi) has no jumps, unlike the angle; the modulus is taken out so that it has no scale either.
    far = reference.gradient.flatten(1).abs().norm(dim=-1).argsort()[:2]
    scale = reference.value[far].real.repeat_interleave(positions[0].numel())

    def values(r):
        sign, log_abs = psi(r)
        return sign * torch.exp(log_abs - (scale if len(r) == len(scale) else reference.value[far].real))

    gradient, laplacian = central_differences(values, positions[far])
    value = values(positions[far])
    torch.testing.assert_close(result.gradient[far], gradient / value[:, None, None], rtol=1e-5, atol=1e-5)
    found = result.laplacian[far] + result.gradient[far].square().sum((-2, -1))
    torch.testing.assert_close(found, laplacian / value, rtol=1e-4, atol=1e-4)
    assert result.gradient.imag.abs().amin(0).max() > 1e-3


@each_ansatz
@pytest.mark.parametrize("name", ["H", "H2+", "He triplet", "Li"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "blocks"])
@pytest.mark.parametrize("envelope", ["isotropic", "full"])
def test_other_numbers_of_electrons(ansatz, name, full, envelope):
    assert_all_equal(ansatz, MOLECULES[name], full_determinants=full, envelope=envelope, jastrow="cusp")


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("n_layers", [1, 4])
def test_psiformers_with_and_without_normalisation(layer_norm, n_layers):
    options = {"n_determinants": 2, "n_heads": 2, "head_size": 4, "perceptron_size": 6, "dtype": DOUBLE}
    psi = Psiformer(MOLECULES["LiH"], n_layers=n_layers, layer_norm=layer_norm, **options).requires_grad_(False)
    positions = walkers(MOLECULES["LiH"], 2)
    result, reference = (lap(log_abs(psi), positions) for lap in (forward_laplacian, torch_func_laplacian))
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)


@each_ansatz
@pytest.mark.parametrize(("name", "full", "envelope"), [("N2", True, "isotropic"), ("N", False, "diagonal")])
def test_larger_systems(ansatz, name, full, envelope):
    assert_all_equal(ansatz, MOLECULES[name], full_determinants=full, envelope=envelope, jastrow="cusp")


@each_ansatz
@pytest.mark.parametrize("name", ["He", "He triplet", "LiH"])
def test_walkers_do_not_see_one_another(ansatz, name):
    molecule = MOLECULES[name]
    psi, positions = log_abs(network(ansatz, molecule, jastrow="cusp")), walkers(molecule, 4)
    whole, part = forward_laplacian(psi, positions), forward_laplacian(psi, positions[2:3])
    torch.testing.assert_close(whole.laplacian[2:3], part.laplacian, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(whole.gradient[2:3], part.gradient, rtol=1e-11, atol=1e-11)


@each_ansatz
def test_single_precision_is_close_to_double(ansatz):
    molecule = MOLECULES["LiH"]
    double = network(ansatz, molecule, jastrow="cusp")
    positions = walkers(molecule, 20)
    expected = forward_laplacian(log_abs(double), positions)
    result = forward_laplacian(log_abs(double.float()), positions.float())
    assert result.laplacian.dtype == torch.float32
    scale = expected.laplacian.abs().clamp(min=1)
    error = ((result.laplacian.double() - expected.laplacian) / scale).abs()
    assert 0 < error.median() < 1e-4
