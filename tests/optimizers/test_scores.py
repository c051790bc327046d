import itertools

import pytest
import torch
from evaluating import Toy
from torch import nn

from qmcnet import Molecule
from qmcnet.optimizers.recording import recorded_calls
from qmcnet.optimizers.scores import per_walker_scores

VARIANTS = list(itertools.product([True, False], ["isotropic", "diagonal"], ["cusp", "none"]))


class Reused(Toy):
    """Calls one linear layer twice and one layer that is not linear twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = Scale()

    def forward(self, positions):
        features = torch.tanh(self.linear(torch.sin(self.linear(positions))))
        log_abs_psi = self.scale(self.scale(features).cos()).sum((-2, -1))
        return torch.ones_like(log_abs_psi), log_abs_psi


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor([0.7, -1.2, 0.4]))

    def forward(self, features):
        return features * self.factor**2


@pytest.mark.parametrize(("full", "envelope", "jastrow"), VARIANTS)
def test_scores_are_autograd_walker_by_walker(full, envelope, jastrow, network, walkers, autograd_scores):
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])
    ansatz = network(molecule, full_determinants=full, envelope=envelope, jastrow=jastrow)
    positions = walkers(5, 4)
    expected = autograd_scores(ansatz, positions)
    scores = per_walker_scores(ansatz, positions, chunk_size=2)
    assert scores.shape == (5, sum(parameter.numel() for parameter in ansatz.parameters()))
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-10)
    assert (expected.abs().amax(0) > 0).double().mean() > 0.9


@pytest.mark.parametrize("molecule", [Molecule.atom("H"), Molecule.atom("N"), Molecule(("Li",), ((0, 0, 0),), 0, 3)])
def test_scores_with_one_spin_or_one_electron(molecule, network, walkers, autograd_scores):
    ansatz = network(molecule, jastrow="cusp")
    positions = walkers(3, molecule.n_up + molecule.n_down)
    expected = autograd_scores(ansatz, positions)
    torch.testing.assert_close(per_walker_scores(ansatz, positions, 8), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_give_the_scores_of_the_whole(chunk_size, network, walkers):
    ansatz = network(Molecule.atom("Be"), jastrow="cusp")
    positions = walkers(7, 4)
    whole = per_walker_scores(ansatz, positions, 7)
    torch.testing.assert_close(per_walker_scores(ansatz, positions, chunk_size), whole, rtol=1e-12, atol=1e-12)


def test_a_module_called_twice_contributes_both_calls(walkers, autograd_scores):
    torch.manual_seed(0)
    ansatz = Reused().double()
    positions = walkers(4, 2)
    expected = autograd_scores(ansatz, positions)
    torch.testing.assert_close(per_walker_scores(ansatz, positions, 4), expected, rtol=1e-12, atol=1e-12)


def test_hooks_are_removed_even_after_an_error(network, walkers):
    ansatz = network(Molecule.atom("He"))
    per_walker_scores(ansatz, walkers(2, 2), 2)
    with pytest.raises(RuntimeError, match="on purpose"), recorded_calls(ansatz):
        assert any(module._forward_hooks for module in ansatz.modules())
        raise RuntimeError("on purpose")
    assert not any(module._forward_hooks for module in ansatz.modules())


def test_scores_leave_parameters_and_their_gradients_alone(network, walkers):
    ansatz = network(Molecule.atom("He"))
    before = [parameter.detach().clone() for parameter in ansatz.parameters()]
    scores = per_walker_scores(ansatz, walkers(2, 2), 2)
    assert not scores.requires_grad
    for parameter, old in zip(ansatz.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, old)


class Tied(Toy):
    """Two linear layers with one weight and biases of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, positions):
        log_abs_psi = torch.tanh(self.second(self.first(positions).sin())).sum((-2, -1))
        return torch.ones_like(log_abs_psi), log_abs_psi


class Flat(Toy):
    """Feeds a linear layer with one row a walker and no axis for it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(9, 5)

    def forward(self, positions):
        log_abs_psi = self.linear(positions.flatten(1)).tanh().sum(-1)
        return torch.ones_like(log_abs_psi), log_abs_psi


@pytest.mark.parametrize("kind", [Tied, Flat])
@pytest.mark.parametrize("chunk_size", [2, 5])
def test_scores_of_unusual_uses_of_linear_layers(kind, chunk_size, walkers, autograd_scores):
    torch.manual_seed(0)
    ansatz = kind().double()
    positions = walkers(5, 3)
    expected = autograd_scores(ansatz, positions)
    torch.testing.assert_close(per_walker_scores(ansatz, positions, chunk_size), expected, rtol=1e-12, atol=1e-12)


def test_scores_do_not_see_a_constant_factor_of_psi(network, walkers):
    class Scaled(Toy):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, positions):
            sign, log_abs_psi = self.inner(positions)
            return sign, log_abs_psi + 7.5

    ansatz = network(Molecule.atom("He"))
    positions = walkers(3, 2)
    assert torch.equal(per_walker_scores(Scaled(ansatz), positions, 3), per_walker_scores(ansatz, positions, 3))
