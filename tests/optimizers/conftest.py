import pytest
import torch

from qmcnet import FermiNet


@pytest.fixture(scope="session")
def autograd_scores():
    """Scores by autograd, a walker at a time."""

    def scores(ansatz, positions):
        rows = []
        for walker in positions:
            value = ansatz(walker[None])[1].sum()
            gradients = torch.autograd.grad(value, list(ansatz.parameters()))
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return torch.stack(rows)

    return scores


@pytest.fixture(scope="session")
def walkers():
    def draw(count, n_electrons, seed=3):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(count, n_electrons, 3, generator=generator, dtype=torch.float64)

    return draw


@pytest.fixture(scope="session")
def network():
    """Small FermiNets whose envelopes and cusps differ from their equal initial values."""

    def build(molecule, **settings):
        sizes = {"n_layers": 2, "hidden_one": 6, "hidden_two": 4, "n_determinants": 2}
        ansatz = FermiNet(molecule, **sizes, dtype=torch.float64, **settings)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in ansatz.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        return ansatz

    return build
