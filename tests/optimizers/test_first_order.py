import copy
import math

import pytest
import torch
from scipy.stats import gamma
from torch import nn
from torch.nn.utils import parameters_to_vector

from qmcnet import FirstOrder, Molecule


class Slater(nn.Module):
    """exp(-zeta r) for one electron: E(zeta) = zeta^2 / 2 - zeta in the field of a proton."""

    def __init__(self, zeta):
        super().__init__()
        self.zeta = nn.Parameter(torch.tensor(zeta, dtype=torch.float64))

    def forward(self, positions):
        log_abs_psi = -self.zeta * positions.norm(dim=-1).sum(-1)
        return torch.ones_like(log_abs_psi), log_abs_psi

    def local_energy(self, positions):
        r = positions.norm(dim=-1).sum(-1)
        return (-self.zeta.square() / 2 + (self.zeta - 1) / r).detach()


def quantiles(zeta, count):
    """Points that carry equal shares of |psi|^2: its radial density is r^2 exp(-2 zeta r)."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    positions = torch.zeros(count, 1, 3, dtype=torch.float64)
    positions[:, 0, 2] = torch.from_numpy(gamma.ppf(shares.numpy(), 3, scale=1 / (2 * zeta)))
    return positions


def gradient_by_one_step(ansatz, positions, energies, **settings):
    """Undo one step of plain gradient descent at rate 1."""
    optimizer = FirstOrder(ansatz, name="SGD", learning_rate=1.0, decay_steps=None, **settings)
    before = parameters_to_vector(ansatz.parameters()).detach().clone()
    stats = optimizer.update(positions, energies)
    return before - parameters_to_vector(ansatz.parameters()).detach(), stats


@pytest.mark.parametrize("zeta", [0.7, 1.0, 1.4])
def test_gradient_is_the_derivative_of_the_hydrogen_energy(zeta):
    ansatz = Slater(zeta)
    positions = quantiles(zeta, 100_000)
    gradient, _ = gradient_by_one_step(ansatz, positions, ansatz.local_energy(positions), clip=0, chunk_size=10**6)
    assert gradient.item() == pytest.approx(zeta - 1, abs=1e-3)


def test_gradient_is_the_finite_difference_of_the_reweighted_energy():
    zeta, step = 1.3, 1e-4
    positions = quantiles(zeta, 100_000)
    log_at_zeta = Slater(zeta)(positions)[1].detach()

    def energy(value):
        trial = Slater(value)
        weights = (2 * (trial(positions)[1].detach() - log_at_zeta)).exp()
        return (weights * trial.local_energy(positions)).sum() / weights.sum()

    difference = (energy(zeta + step) - energy(zeta - step)) / (2 * step)
    ansatz = Slater(zeta)
    gradient, _ = gradient_by_one_step(ansatz, positions, ansatz.local_energy(positions), clip=0, chunk_size=10**6)
    assert gradient.item() == pytest.approx(difference.item(), abs=1e-3)


@pytest.mark.parametrize("chunk_size", [3, 100])
def test_gradient_is_twice_the_covariance_of_scores_and_energies(chunk_size, network, walkers, autograd_scores):
    ansatz, positions = network(Molecule.atom("Be"), cusp=True), walkers(8, 4)
    energies = walkers(8, 1).sum((1, 2))
    expected = 2 * ((energies - energies.mean())[:, None] * autograd_scores(ansatz, positions)).mean(0)
    gradient, stats = gradient_by_one_step(ansatz, positions, energies, clip=0, chunk_size=chunk_size)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    assert float(stats["grad_norm"]) == pytest.approx(expected.norm().item(), rel=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_walker_that_is_not_finite_is_left_out(bad, network, walkers):
    positions, energies = walkers(6, 2), walkers(6, 1).sum((1, 2))
    poisoned = energies.clone()
    poisoned[2] = bad
    kept = torch.arange(6) != 2
    lost = torch.where(kept[:, None, None], positions, math.nan)
    gradient, _ = gradient_by_one_step(network(Molecule.atom("He")), lost, poisoned, clip=0)
    expected, _ = gradient_by_one_step(network(Molecule.atom("He")), positions[kept], energies[kept], clip=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_clipping_is_passed_on_and_counted(network, walkers):
    energies = torch.tensor([0.0, 0.0, 0.1, -0.1, 100.0], dtype=torch.float64)
    _, off = gradient_by_one_step(network(Molecule.atom("He")), walkers(5, 2), energies, clip=0)
    _, on = gradient_by_one_step(network(Molecule.atom("He")), walkers(5, 2), energies, clip=2)
    assert not off["clipped_share"]
    assert float(on["clipped_share"]) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("name", "options"), [("Adam", {"betas": (0.5, 0.9)}), ("AdamW", {}), ("SGD", {"momentum": 0.9})]
)
def test_any_optimizer_of_torch_by_name(name, options, network, walkers):
    ansatz, reference = network(Molecule.atom("He")), network(Molecule.atom("He"))
    positions, energies = walkers(6, 2), walkers(6, 1).sum((1, 2))
    optimizer = FirstOrder(ansatz, name=name, learning_rate=1e-2, decay_steps=10, clip=0, options=options)
    by_hand = getattr(torch.optim, name)(reference.parameters(), lr=1e-2, **options)
    for step in range(3):
        stats = optimizer.update(positions, energies)
        loss = 2 * ((energies - energies.mean()) * reference(positions)[1]).mean()
        by_hand.zero_grad()
        loss.backward()
        by_hand.param_groups[0]["lr"] = 1e-2 / (1 + step / 10)
        by_hand.step()
        assert stats["learning_rate"] == pytest.approx(1e-2 / (1 + step / 10))
    torch.testing.assert_close(
        parameters_to_vector(ansatz.parameters()), parameters_to_vector(reference.parameters()), rtol=1e-9, atol=1e-9
    )


def test_a_restored_optimizer_continues_exactly(network, walkers):
    positions, energies = walkers(6, 2), walkers(6, 1).sum((1, 2))
    ansatz = network(Molecule.atom("He"))
    optimizer = FirstOrder(ansatz, learning_rate=1e-2, decay_steps=3)
    optimizer.update(positions, energies)
    other = network(Molecule.atom("He"))
    other.load_state_dict(ansatz.state_dict())
    resumed = FirstOrder(other, learning_rate=1e-2, decay_steps=3)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    first, second = optimizer.update(positions, energies), resumed.update(positions, energies)
    assert first["learning_rate"] == second["learning_rate"] < 1e-2
    assert torch.equal(parameters_to_vector(ansatz.parameters()), parameters_to_vector(other.parameters()))


@pytest.mark.parametrize("name", ["Adamm", "lr_scheduler", "no_grad", ""])
def test_an_unknown_name_lists_the_classes(name, network):
    with pytest.raises(ValueError, match=r"must be a class of torch.optim: .*Adam, .*AdamW.*SGD"):
        FirstOrder(network(Molecule.atom("He")), name=name)


@pytest.mark.parametrize(("setting", "value"), [("learning_rate", 0.0), ("chunk_size", 0)])
def test_settings_out_of_range(setting, value, network):
    with pytest.raises(ValueError, match=setting):
        FirstOrder(network(Molecule.atom("He")), **{setting: value})
