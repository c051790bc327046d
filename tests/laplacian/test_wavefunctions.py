"""The forward back end on whole wavefunctions: equal to the reference and to finite differences."""

import pytest
import torch

from qmcnet.ansatz import FermiNet
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


def network(molecule, full, envelope, cusp):
    return FermiNet(
        molecule,
        n_layers=3,
        hidden_one=8,
        hidden_two=4,
        n_determinants=2,
        full_determinants=full,
        envelope=envelope,
        cusp=cusp,
        seed=4,
        dtype=DOUBLE,
    ).requires_grad_(False)


def walkers(molecule, n_walkers):
    generator = torch.Generator().manual_seed(8)
    points = torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)
    return points + molecule.nuclei.mean(0)


def log_abs(ansatz):
    return lambda r: ansatz(r)[1]


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


def assert_all_equal(molecule, full, envelope, cusp, n_walkers=3):
    psi = log_abs(network(molecule, full, envelope, cusp))
    positions = walkers(molecule, n_walkers)
    result, reference = forward_laplacian(psi, positions), torch_func_laplacian(psi, positions)
    torch.testing.assert_close(result.value, psi(positions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)
    gradient, laplacian = central_differences(psi, positions)
    torch.testing.assert_close(result.gradient, gradient, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.laplacian, laplacian, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["H", "H2+", "He triplet", "Li", "LiH"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "blocks"])
@pytest.mark.parametrize("envelope", ["isotropic", "diagonal"])
@pytest.mark.parametrize("cusp", [True, False], ids=["cusp", "plain"])
def test_small_systems(name, full, envelope, cusp):
    assert_all_equal(MOLECULES[name], full, envelope, cusp)


@pytest.mark.parametrize(("name", "full", "envelope"), [("N2", True, "isotropic"), ("N", False, "diagonal")])
def test_larger_systems(name, full, envelope):
    assert_all_equal(MOLECULES[name], full, envelope, cusp=True, n_walkers=2)


@pytest.mark.parametrize("name", ["He", "He triplet", "LiH"])
def test_walkers_do_not_see_one_another(name):
    molecule = MOLECULES[name]
    psi, positions = log_abs(network(molecule, True, "isotropic", True)), walkers(molecule, 4)
    whole, part = forward_laplacian(psi, positions), forward_laplacian(psi, positions[2:3])
    torch.testing.assert_close(whole.laplacian[2:3], part.laplacian, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(whole.gradient[2:3], part.gradient, rtol=1e-12, atol=1e-12)


def test_single_precision_is_close_to_double():
    molecule = MOLECULES["LiH"]
    double = network(molecule, True, "isotropic", True)
    positions = walkers(molecule, 20)
    expected = forward_laplacian(log_abs(double), positions)
    result = forward_laplacian(log_abs(double.float()), positions.float())
    assert result.laplacian.dtype == torch.float32
    scale = expected.laplacian.abs().clamp(min=1)
    error = ((result.laplacian.double() - expected.laplacian) / scale).abs()
    assert 0 < error.median() < 1e-4
