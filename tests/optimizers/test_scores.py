import itertools

import pytest
import torch
from torch import nn

from qmcnet import Molecule
from qmcnet.optimizers.scores import linear_scores, per_walker_scores, recorded_calls

VARIANTS = list(itertools.product([True, False], ["isotropic", "diagonal"], [True, False]))


class Reused(nn.Module):
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


@pytest.mark.parametrize(("full", "envelope", "cusp"), VARIANTS)
def test_scores_are_autograd_walker_by_walker(full, envelope, cusp, network, walkers, autograd_scores):
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])
    ansatz = network(molecule, full_determinants=full, envelope=envelope, cusp=cusp)
    positions = walkers(5, 4)
    expected = autograd_scores(ansatz, positions)
    scores = per_walker_scores(ansatz, positions, chunk_size=2)
    assert scores.shape == (5, sum(parameter.numel() for parameter in ansatz.parameters()))
    torch.testing.assert_close(scores, expected, rtol=1e-10, atol=1e-10)
    assert (expected.abs().amax(0) > 0).double().mean() > 0.9


@pytest.mark.parametrize("molecule", [Molecule.atom("H"), Molecule.atom("N"), Molecule(("Li",), ((0, 0, 0),), 0, 3)])
def test_scores_with_one_spin_or_one_electron(molecule, network, walkers, autograd_scores):
    ansatz = network(molecule, cusp=True)
    positions = walkers(3, molecule.n_up + molecule.n_down)
    expected = autograd_scores(ansatz, positions)
    torch.testing.assert_close(per_walker_scores(ansatz, positions, 8), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk_size", [1, 3, 7, 100])
def test_chunks_give_the_scores_of_the_whole(chunk_size, network, walkers):
    ansatz = network(Molecule.atom("Be"), cusp=True)
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


def test_linear_scores_sum_outer_products_over_all_rows_of_a_walker(walkers):
    inputs, signal = walkers(2, 4), walkers(2, 4, seed=8)[..., :2]
    scores = linear_scores(inputs, signal, bias=True)
    expected = torch.stack(
        [sum(torch.outer(s, x) for s, x in zip(ss, xs, strict=True)) for ss, xs in zip(signal, inputs, strict=True)]
    )
    torch.testing.assert_close(scores["weight"], expected)
    torch.testing.assert_close(scores["bias"], signal.sum(1))
    assert set(linear_scores(inputs, signal, bias=False)) == {"weight"}


def test_scores_do_not_see_a_constant_factor_of_psi(network, walkers):
    class Scaled(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, positions):
            sign, log_abs_psi = self.inner(positions)
            return sign, log_abs_psi + 7.5

    ansatz = network(Molecule.atom("He"))
    positions = walkers(3, 2)
    assert torch.equal(per_walker_scores(Scaled(ansatz), positions, 3), per_walker_scores(ansatz, positions, 3))
