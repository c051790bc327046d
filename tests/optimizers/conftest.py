import io

import pytest
import torch
from evaluating import Toy
from torch import nn
from torch.nn.utils import parameters_to_vector

from qmcnet import FermiNet, NaturalStates


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
def batches(walkers):
    """Positions (B, N, 3) and energies (B, 1) that change from step to step."""

    def draw(count, size=9, n_electrons=2):
        for seed in range(count):
            yield walkers(size, n_electrons, seed), walkers(size, 1, 100 + seed).sum(2)

    return draw


@pytest.fixture(scope="session")
def vector():
    """All parameters, as they are now."""

    def copied(ansatz):
        return parameters_to_vector(ansatz.parameters()).detach().clone()

    return copied


@pytest.fixture(scope="session")
def through_a_file():
    """A state as a resumed run finds it."""

    def written_and_read(state):
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    return written_and_read


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
        return NaturalStates(ansatz)

    return build


class Perceptron(Toy):
    """Few parameters: 17 for two electrons."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 2), nn.Linear(2, 1)

    def forward(self, positions):
        log_abs_psi = self.second(self.first(positions.flatten(1)).tanh())[:, 0]
        return torch.ones_like(log_abs_psi), log_abs_psi


@pytest.fixture(scope="session")
def perceptron():
    def build():
        torch.manual_seed(4)
        return Perceptron().double()

    return build


class LinearModel(Toy):
    """log|psi| = w f(r) + b with features that are not centred and correlated."""

    def __init__(self, n_features, bias):
        super().__init__()
        generator = torch.Generator().manual_seed(6)
        mix = torch.randn(6, n_features, generator=generator, dtype=torch.float64)
        self.register_buffer("mix", mix)
        self.layer = nn.Linear(n_features, 1, bias=bias, dtype=torch.float64)

    def features(self, positions):
        return 0.5 + (positions.flatten(1) @ self.mix).sin()

    def forward(self, positions):
        log_abs_psi = self.layer(self.features(positions))[:, 0]
        return torch.ones_like(log_abs_psi), log_abs_psi


@pytest.fixture(scope="session")
def linear_model():
    def build(n_features=5, bias=False):
        torch.manual_seed(7)
        return LinearModel(n_features, bias)

    return build
