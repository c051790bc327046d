"""The reference of the tests, double differentiation by autograd, against closed forms and torch.func."""

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.laplacian import torch_func_laplacian
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

LITHIUM = Molecule.atom("Li")


@pytest.fixture
def positions():
    return torch.randn(3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_a_gaussian_in_closed_form(second_derivatives, positions):
    found = second_derivatives(lambda x: torch.exp(-0.4 * x.square().sum((1, 2))), positions)
    square = positions.square().sum((1, 2))
    value = torch.exp(-0.4 * square)
    torch.testing.assert_close(found.value, value)
    torch.testing.assert_close(found.gradient, -0.8 * positions * value[:, None, None])
    torch.testing.assert_close(found.laplacian, value * (0.64 * square - 0.8 * 9))


def test_a_wave_in_closed_form(second_derivatives, positions):
    wave = torch.tensor([0.3, -0.5, 0.7], dtype=torch.float64)
    found = second_derivatives(lambda x: torch.exp(1j * (x @ wave)), positions)  # (B, N): several values
    value = torch.exp(1j * (positions @ wave))
    slopes = torch.einsum("bi,ij,k->bijk", value, torch.eye(3, dtype=value.dtype), 1j * wave)
    torch.testing.assert_close(found.gradient, slopes)
    torch.testing.assert_close(found.laplacian, -wave.square().sum() * value)


def test_linear_and_constant_functions_have_no_laplacian(second_derivatives, positions):
    for function in (lambda x: x.sum((1, 2)), lambda x: torch.ones(len(x), dtype=x.dtype)):
        assert (second_derivatives(function, positions).laplacian == 0).all()


@pytest.mark.parametrize("complex", [False, True])
@pytest.mark.parametrize("n_states", [1, 2])
def test_a_network_by_torch_func(second_derivatives, positions, n_states, complex):
    sizes = {"n_layers": 1, "hidden_one": 6, "hidden_two": 3, "n_determinants": 2, "dtype": torch.float64}
    states = NaturalStates(FermiNet(LITHIUM, n_states=n_states, complex=complex, **sizes).requires_grad_(False))
    found = second_derivatives(lambda x: states.log_psi(x)[0], positions)
    expected = torch_func_laplacian(states.log_psi, positions)
    assert found.value.shape == (3, n_states)
    for name in ("value", "gradient", "laplacian"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-10, atol=1e-10)
