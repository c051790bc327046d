"""Gradients of the penalised energies, against quadrature on a ring."""

import math
from functools import partial

import pytest
import torch
from evaluating import states_of
from torch import nn

from qmcnet import FirstOrder, Kfac, MolecularHamiltonian, Molecule, Penalty, ProductStates, Spring
from qmcnet.operators.kinetic import Kinetic
from qmcnet.optimizers import Clipping
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.states.penalty import overlap_terms

DOUBLE = torch.float64
HYDROGEN = Molecule.atom("H")
S = 3
GRID = torch.arange(400, dtype=DOUBLE) * (2 * math.pi / 400)


class Ring(nn.Module):
    """States of a particle on a ring, of which x is the angle; all of them share a layer, and one has another sign."""

    def __init__(self, n_states=S):
        super().__init__()
        self.molecule = HYDROGEN
        self.shared, self.own = nn.Linear(2, 4, dtype=DOUBLE), nn.Linear(4, n_states, dtype=DOUBLE)
        generator = torch.Generator().manual_seed(1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.45, generator=generator)
        self.register_buffer("signs", torch.tensor([1.0, -1.0, 1.0], dtype=DOUBLE)[:n_states])

    def logarithm(self, angle):
        """log|psi| and its derivative, (M, S)."""
        hidden = torch.tanh(self.shared(torch.stack([angle.cos(), angle.sin()], -1)))
        turned = torch.stack([-angle.sin(), angle.cos()], -1) @ self.shared.weight.mT
        return self.own(hidden), ((1 - hidden**2) * turned) @ self.own.weight.mT

    def forward(self, positions, nuclei):
        angle = positions[..., 0, :1]
        features = torch.cat([torch.cos(angle), torch.sin(angle)], -1)
        psi = self.signs * torch.exp(self.own(torch.tanh(self.shared(features))))
        return torch.linalg.slogdet(psi[..., None, None])


def potential(angle):
    return angle.cos() + 0.3 * (2 * angle).sin()


class RingPotential:
    name = "ring"

    def __call__(self, states):
        return states.times(potential(states.positions[:, 0, :1]))


def exact(ring, weights, strength):
    """sum_j w_j E_j + strength sum_{j<k} S_jk^2 by the trapezoidal rule, which is exact for periodic functions."""
    log_psi, derivative = ring.logarithm(GRID)
    psi = log_psi.exp()
    norm = (psi**2).sum(0)
    energies = (psi**2 * (derivative**2 / 2 + potential(GRID)[:, None])).sum(0) / norm
    overlaps = (psi.mT @ psi) ** 2 / (norm[:, None] * norm)
    return energies @ torch.tensor(weights, dtype=DOUBLE) + strength * overlaps.triu(1).sum()


@torch.no_grad()
def placed(ring, shares):
    """Angles below which every state has given shares of its norm, (..., S): equal shares are exact quadrature."""
    density = (2 * ring.logarithm(GRID)[0]).exp()
    orders = torch.arange(1, 100, dtype=DOUBLE)
    waves = (torch.fft.rfft(density.mT) / density.sum(0)[:, None])[:, 1:100]

    def below(angle):  # (..., S)
        phase = torch.polar(torch.ones((), dtype=DOUBLE), orders * angle[..., None]) - 1
        return (angle + 2 * (waves / (1j * orders) * phase).real.sum(-1)) / (2 * math.pi)

    low, high = torch.zeros_like(shares), torch.full_like(shares, 2 * math.pi)
    for _ in range(44):
        middle = (low + high) / 2
        left = below(middle) < shares
        low, high = torch.where(left, middle, low), torch.where(left, high, middle)
    return low


def as_positions(angles):
    """Walkers with an electron at each angle, (B, S, 3)."""
    return torch.nn.functional.pad(angles[..., None], (0, 2))


@pytest.fixture
def ring():
    return Ring()


@pytest.fixture
def on_the_ring(ring):
    """The product of states, walkers that integrate exactly, and their local energies."""
    hamiltonian = MolecularHamiltonian(HYDROGEN)
    hamiltonian.terms = Kinetic(), RingPotential()
    shares = ((torch.arange(300, dtype=DOUBLE) + 0.5) / 300)[:, None].expand(-1, S)
    # The means over walkers of different states are taken apart, so that it does not matter which go together.
    angles = torch.stack([column.roll(100 * i) for i, column in enumerate(placed(ring, shares).unbind(-1))], -1)
    product, positions = ProductStates(ring), as_positions(angles)
    return product, positions, hamiltonian(states_of(product, positions))


OBJECTIVES = [((1.0, 1.0, 1.0), 0.0), ((1.0, 1.0, 1.0), 2.0), ((1.0, 0.5, 0.2), 3.0)]


@pytest.mark.parametrize(("weights", "strength"), OBJECTIVES)
def test_the_gradient_of_the_penalised_sum_is_that_of_quadrature(weights, strength, ring, on_the_ring):
    product, positions, energy = on_the_ring
    local = Penalty(strength, weights)(energy, ())
    assert local.shape == (300, S)
    loss = 2 * ((local - local.mean(0)) * product.factors(positions)).sum(-1).mean()
    expected = torch.autograd.grad(exact(ring, weights, strength), list(ring.parameters()))
    for found, gradient in zip(torch.autograd.grad(loss, list(ring.parameters())), expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=0, atol=1e-9)
    assert max(gradient.abs().max() for gradient in expected) > 0.1


def test_an_update_is_a_step_down_the_gradient(ring, on_the_ring):
    product, positions, energy = on_the_ring
    parameters = list(ring.parameters())
    gradient = torch.autograd.grad(exact(ring, (1.0, 1.0, 1.0), 2.0), parameters)
    expected = [parameter.detach() - 0.01 * part for parameter, part in zip(parameters, gradient, strict=True)]
    optimizer = FirstOrder(product, learning_rate=0.01, method=torch.optim.SGD, max_grad_norm=None)
    clipped, _ = Clipping(width=None)(Penalty(2.0, [1.0, 1.0, 1.0])(energy, ()))
    optimizer.update(positions, clipped)
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=0, atol=1e-10)


def test_small_batches_have_no_bias(ring):
    batches, size = 1000, 3
    shares = torch.rand(batches * size, S, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    angles = placed(ring, shares)
    product, positions = ProductStates(ring), as_positions(angles)
    with torch.no_grad():
        psi = ring.signs * ring.logarithm(angles)[0].exp()  # (M, S, S)
        ratios = (psi / psi.diagonal(dim1=-2, dim2=-1)[..., None]).unflatten(0, (batches, size))
    local = torch.stack([overlap_terms(batch) for batch in ratios])
    scores = per_walker_scores(product, positions, 10**6).unflatten(0, (batches, size, S))  # (..., P)
    centred = (local - local.mean(1, keepdim=True))[..., None] * scores
    estimates = 2 * centred.sum((1, 2)) / (size - 1)
    gradients = torch.autograd.grad(exact(ring, (0.0, 0.0, 0.0), 1.0), list(ring.parameters()))
    expected = torch.cat([gradient.flatten() for gradient in gradients])
    error = estimates.std(0) / batches**0.5
    assert error.max() < 0.2 * expected.abs().max()
    assert ((estimates.mean(0) - expected).abs() < 4 * error + 1e-12).all()


def test_states_that_are_nearly_equal_are_pushed_apart(ring):
    with torch.no_grad():
        ring.own.weight[1] = ring.own.weight[0] + 0.05
        ring.own.weight[2] = ring.own.weight[0] - 0.05
    before = exact(ring, (0.0, 0.0, 0.0), 1.0).item()
    optimizer = FirstOrder(ProductStates(ring), learning_rate=0.2, method=torch.optim.SGD)
    shares = ((torch.arange(100, dtype=DOUBLE) + 0.5) / 100)[:, None].expand(-1, S)
    for _ in range(10):
        angles = placed(ring, shares)
        psi = ring.signs * ring.logarithm(angles)[0].detach().exp()
        optimizer.update(as_positions(angles), overlap_terms(psi / psi.diagonal(dim1=-2, dim2=-1)[..., None]))
    assert before > 2.95
    assert exact(ring, (0.0, 0.0, 0.0), 1.0) < before - 0.3


def test_a_walker_that_is_lost_is_left_out_of_the_overlaps():
    ratios = torch.randn(20, S, S, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))
    spoiled = ratios.clone()
    spoiled[3, 0, 1], spoiled[7] = math.inf, math.nan
    kept = [i for i in range(20) if i not in (3, 7)]
    torch.testing.assert_close(overlap_terms(spoiled)[kept], overlap_terms(ratios[kept]), rtol=0, atol=1e-12)


OPTIMIZERS = {
    "spring": partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2),
    "kfac": partial(Kfac, learning_rate=0.05),
    "adam": partial(FirstOrder, learning_rate=1e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_walker_lost_to_one_state_is_left_out_of_the_update(optimizer):
    generator = torch.Generator().manual_seed(6)
    positions = torch.randn(12, S, 3, dtype=DOUBLE, generator=generator)
    energies = torch.randn(12, S, dtype=DOUBLE, generator=generator)
    spoiled = energies.clone()
    spoiled[4, 1] = math.nan
    kept = [i for i in range(12) if i != 4]
    rings = []
    for where, local in ((positions, spoiled), (positions[kept], energies[kept])):
        rings.append(Ring())
        OPTIMIZERS[optimizer](ProductStates(rings[-1])).update(where, local)
    for found, expected in zip(rings[0].parameters(), rings[1].parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert not torch.allclose(rings[0].shared.weight, Ring().shared.weight)


def test_weights_fall_by_default(on_the_ring):
    energy = on_the_ring[2]
    assert torch.equal(Penalty(1.5)(energy, ()), Penalty(1.5, [1, 1 / 2, 1 / 3])(energy, ()))
    assert not torch.equal(Penalty(1.5)(energy, ()), Penalty(1.5, [1, 1, 1])(energy, ()))
