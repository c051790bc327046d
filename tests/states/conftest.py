import members
import pytest
import torch

SIZES = members.sizes({kind: {"n_layers": 2} for kind in members.networks()}, n_determinants=2)


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
