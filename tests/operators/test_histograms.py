"""Radial and pair distributions of electrons drawn exactly, against closed forms."""

import math

import pytest
import torch
from evaluating import Formula

from qmcnet.operators.pair import Pair
from qmcnet.operators.radial import Radial
from qmcnet.system.molecule import Molecule


def draw_1s(n_points, n_electrons, zeta):
    """Draw from the product of densities exp(-2 zeta r)."""
    generator = torch.Generator().manual_seed(7)
    uniform = torch.rand(n_points, n_electrons, 3, generator=generator, dtype=torch.float64)
    direction = torch.randn(n_points, n_electrons, 3, generator=generator, dtype=torch.float64)
    radius = -torch.log1p(-uniform).sum(-1, keepdim=True) / (2 * zeta)
    return radius * torch.nn.functional.normalize(direction, dim=-1)


def product(zeta, molecule):
    def evaluate(positions):
        return torch.ones(len(positions)).double(), -zeta * positions.norm(dim=-1).sum(-1)

    return Formula(evaluate, molecule)


def local_values(observable, network, positions, states):
    found = states(network, positions)
    return found.local(observable(found))[..., 0, 0]


def bin_means(function, bins, n=200):
    """Average a function over each bin, by the midpoint rule."""
    width = bins.largest / bins.n_bins
    fine = (torch.arange(bins.n_bins * n, dtype=torch.float64) + 0.5) * width / n
    return function(fine).unflatten(0, (-1, n)).mean(-1)


def radial_1s(zeta):
    return lambda r: 4 * zeta**3 * r**2 * torch.exp(-2 * zeta * r)


def pair_1s(zeta):
    def distribution(u):
        a = 2 * zeta
        return a**3 * u**2 * torch.exp(-a * u) * (1 + a * u + (a * u) ** 2 / 3) / 16

    return distribution


def assert_close(samples, expected):
    error = samples.std(0) / len(samples) ** 0.5
    assert error.max() < 0.03
    seen = expected > 1e-2  # 80 counts
    assert seen.sum() > 12
    assert ((samples.mean(0) - expected)[seen].abs() < 4 * error[seen]).all()


@pytest.mark.parametrize(("symbol", "zeta"), [("H", 1.0), ("He", 27 / 16)])
def test_the_radial_density_of_1s_electrons(symbol, zeta, states):
    molecule = Molecule.atom(symbol)
    radial = Radial(molecule, n_bins=40, largest=8.0)
    positions = draw_1s(40_000, molecule.n_electrons, zeta)
    local = local_values(radial, product(zeta, molecule), positions, states)
    assert_close(local, molecule.n_electrons * bin_means(radial_1s(zeta), radial.bins))
    assert local.mean(0).sum() * 0.2 == pytest.approx(molecule.n_electrons, abs=2e-4)


def test_distances_are_measured_from_each_nucleus(states):
    molecule = Molecule.diatomic("Li", "H", 3.0, "bohr")
    radial = Radial(molecule, n_bins=40, largest=8.0)
    positions = draw_1s(10_000, 4, 1.0)
    local = local_values(radial, product(1.0, molecule), positions, states)
    assert radial.components[:2] == ("Li1 0.1", "Li1 0.3")
    assert radial.components[39:41] == ("Li1 7.9", "H2 0.1")
    first, second = local.unflatten(-1, (2, 40)).unbind(1)
    torch.testing.assert_close(first, radial.bins.density(positions.norm(dim=-1)))
    away = positions - torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(second, radial.bins.density(away.norm(dim=-1)))


def test_the_distance_of_two_1s_electrons(states):
    zeta = 27 / 16
    molecule = Molecule.atom("He")
    pair = Pair(molecule, n_bins=40, largest=8.0)
    local = local_values(pair, product(zeta, molecule), draw_1s(40_000, 2, zeta), states)
    equal, opposite = local.chunk(2, -1)
    assert not equal.any()
    assert_close(opposite, bin_means(pair_1s(zeta), pair.bins))
    assert opposite.mean(0).sum() * 0.2 == pytest.approx(1, abs=2e-4)


def test_pairs_of_equal_and_of_opposite_spin_are_told_apart(states):
    molecule = Molecule.atom("B")  # three up, two down
    pair = Pair(molecule, n_bins=10, largest=30.0)
    positions = draw_1s(50, 5, 0.5)
    local = local_values(pair, product(0.5, molecule), positions, states)
    equal, opposite = torch.zeros(2, 50, 10, dtype=torch.float64)
    for m, walker in enumerate(positions):
        for i in range(5):
            for j in range(i):
                counts = equal if (i < 3) == (j < 3) else opposite
                counts[m, int(math.dist(walker[i], walker[j]) // 3.0)] += 1 / 3.0
    torch.testing.assert_close(local, torch.cat([equal, opposite], -1))
    torch.testing.assert_close(equal.sum(-1) * 3, torch.full((50,), 4.0).double())
    torch.testing.assert_close(opposite.sum(-1) * 3, torch.full((50,), 6.0).double())
    assert (pair.components[0], pair.components[-1]) == ("equal 1.5", "opposite 28.5")
