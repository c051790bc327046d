import pytest
import torch

from qmcnet.laplacian import forward_laplacian, torch_func_laplacian
from qmcnet.operators.kinetic import kinetic_energy
from qmcnet.protocols import Derivatives

DOUBLE = torch.float64


@pytest.fixture
def positions():
    return torch.randn(6, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backend", [forward_laplacian, torch_func_laplacian])
@pytest.mark.parametrize("omega", [0.5, 1.7])
def test_harmonic_oscillator(backend, omega, positions):
    derivatives = backend(lambda x: -0.5 * omega * x.square().sum((1, 2)), positions)
    potential = 0.5 * omega**2 * positions.square().sum((1, 2))
    energy = kinetic_energy(derivatives) + potential
    assert energy.tolist() == pytest.approx([1.5 * omega * 3] * 6, rel=1e-12)


@pytest.mark.parametrize("backend", [forward_laplacian, torch_func_laplacian])
def test_parabolas_in_a_box(backend, positions):
    inside = torch.sigmoid(positions)
    derivatives = backend(lambda x: torch.log(x * (1 - x)).sum((1, 2)), inside)
    # psi = prod x (1 - x): each coordinate adds -psi'' / 2 psi = 1 / (x (1 - x)).
    expected = (1 / (inside * (1 - inside))).sum((1, 2))
    torch.testing.assert_close(kinetic_energy(derivatives), expected, rtol=1e-11, atol=0)


def test_energies_are_in_double_precision():
    gradient = torch.full((1, 1, 3), 1 + 2**-20, dtype=torch.float32)
    derivatives = Derivatives(torch.zeros(1), gradient, torch.full((1,), -3.0))
    energy = kinetic_energy(derivatives)
    assert energy.dtype == DOUBLE
    assert energy.item() == pytest.approx(-0.5 * (3 * (1 + 2**-20) ** 2 - 3), rel=1e-12)
