import pytest
import torch

from qmcnet.ansatz import FermiNet, LapNet, Psiformer

SIZES = {
    FermiNet: {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2},
    Psiformer: {"n_layers": 1, "n_heads": 2, "head_size": 4, "perceptron_size": 6, "n_determinants": 2},
    LapNet: {"n_layers": 2, "n_heads": 2, "head_size": 4, "n_single": 1, "n_determinants": 2},
}


@pytest.fixture(params=SIZES, scope="session")
def ansatz(request):
    """Every kind of network."""
    return request.param


@pytest.fixture(scope="session")
def small():
    """Small networks as they start, in double precision."""

    def build(ansatz, molecule, n_states, **options):
        return ansatz(molecule, **SIZES[ansatz] | {"dtype": torch.float64} | options, n_states=n_states)

    return build


@pytest.fixture(scope="session")
def moved(small):
    """Small networks whose parameters are away from their initial values, which some share, without gradients."""

    def build(*arguments):
        network, generator = small(*arguments).requires_grad_(False), torch.Generator().manual_seed(5)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))
        return network

    return build
