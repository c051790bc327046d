import math
from dataclasses import dataclass

import pytest
import torch

from qmcnet import FermiNet, Molecule, NaturalStates, Spring
from qmcnet.optimizers import spring as spring_module
from qmcnet.optimizers.least_squares import ParameterSystem, WalkerSystem
from qmcnet.optimizers.operator import LayerScores, ScoreOperator, Slot
from qmcnet.optimizers.prime_sr import LARGEST, WIDTH, Principal, follow, known

RANK = torch.tensor(20.0, dtype=torch.float64)


@dataclass
class Kernel:
    """A kernel of walkers, and no more."""

    matrix: torch.Tensor
    rank: torch.Tensor = RANK

    @property
    def n_walkers(self):
        return len(self.matrix)

    def kernel_times(self, vectors):
        return self.matrix @ vectors


class Momentum:
    """The momentum of one update after the other."""

    def __init__(self):
        self.before = None

    def __call__(self, system):
        momentum, self.before = follow(system, known(self.before, torch.zeros(system.n_walkers, 1).double()))
        return momentum


def orthonormal(seed, size=24):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q


def with_spectrum(basis, values):
    values = torch.tensor(values, dtype=torch.float64)
    vectors = basis[:, : len(values)]
    return vectors * values @ vectors.mT


def exact(kernel, before, rank):
    """Momentum from full decompositions of two kernels."""

    def leading(matrix):
        values, vectors = torch.linalg.eigh(matrix)
        alpha = values.sum() ** 2 / values.square().sum()
        return vectors[:, -math.ceil(alpha) :], alpha

    (new, alpha), (old, _) = leading(kernel), leading(before)
    overlap = (new.mT @ old).norm() / min(new.shape[1], old.shape[1]) ** 0.5
    return float(1 - (1 - overlap.clamp(max=1).sqrt()) * (1 - (alpha / rank) ** 0.25))


@pytest.mark.parametrize(
    "spectra",
    [([3.0, 1.0, 1e-3], [2.0, 1.5, 1e-4]), ([3.0, 2.5, 2.0, 1e-3], [5.0, 1e-2]), ([4.0, 1e-3], [3.0, 2.5, 2.0, 1e-3])],
    ids=["equal", "shrinking", "growing"],
)
@pytest.mark.parametrize("mixing", [0.1, 0.4, 0.7])
def test_momentum_is_that_of_full_decompositions(spectra, mixing):
    before = with_spectrum(orthonormal(0), spectra[0])
    turned = torch.linalg.qr((1 - mixing) * orthonormal(0) + mixing * orthonormal(1)).Q
    kernel = with_spectrum(turned, spectra[1])
    momentum = Momentum()
    assert momentum(Kernel(before)) == 0
    assert momentum(Kernel(kernel)).item() == pytest.approx(min(exact(kernel, before, RANK), LARGEST), abs=1e-6)


def test_a_subspace_that_stays_keeps_the_most_and_one_that_leaves_keeps_the_share_of_the_dimension():
    basis, momentum = orthonormal(2), Momentum()
    here, there = with_spectrum(basis, [1.0, 0.8]), with_spectrum(basis.flip(1), [1.0, 0.8])
    momentum(Kernel(here))
    assert momentum(Kernel(2 * here)).item() == pytest.approx(LARGEST, abs=1e-12)
    momentum = Momentum()
    momentum(Kernel(here))
    assert momentum(Kernel(there + 1e-9 * here)).item() == pytest.approx((1.8**2 / 1.64 / 20) ** 0.25, abs=1e-3)


def test_the_momentum_is_below_one_where_the_published_one_is_one():
    equal = with_spectrum(orthonormal(1), [1.0] * 20)  # of full rank, and the same space again
    momentum = Momentum()
    momentum(Kernel(equal))
    assert exact(equal, equal, RANK) == pytest.approx(1, abs=1e-7)
    assert momentum(Kernel(equal)).item() == LARGEST < 1


@pytest.mark.parametrize("n_walkers", [30, 90])
@pytest.mark.parametrize("lost", [(), (2, 7)])
def test_both_systems_give_the_same_momentum(n_walkers, lost):
    """Scores of fewer parameters than walkers and of more, whose kernels have the same eigenvalues but for zeros."""
    generator, momenta = torch.Generator().manual_seed(4), (Momentum(), Momentum())
    scale = 0.5 ** torch.arange(60, dtype=torch.float64)
    scores = torch.randn(n_walkers, 60, generator=generator, dtype=torch.float64) * scale
    finite = torch.ones(n_walkers, dtype=torch.bool)
    finite[list(lost)] = False
    for step in range(4):
        scores = scores + scale * torch.randn(n_walkers, 60, generator=generator, dtype=torch.float64)
        layer = LayerScores(scores[:, None], torch.ones(n_walkers, 1, 1).double(), (Slot(0, 1, 60),))
        operator = ScoreOperator([layer], 60, n_walkers)
        walkers, parameters = (kind(operator, finite) for kind in (WalkerSystem, ParameterSystem))
        assert walkers.n_walkers == parameters.n_walkers == n_walkers
        one, other = momenta[0](walkers), momenta[1](parameters)
        assert one.item() == pytest.approx(other.item(), abs=1e-9)
        assert (0.2 < one < LARGEST) if step else one == 0


@pytest.mark.parametrize("lost", [0.0, math.nan])
def test_an_update_that_is_left_out_is_not_remembered(lost):
    kernel, other = with_spectrum(orthonormal(3), [2.0, 1.0, 0.1]), with_spectrum(orthonormal(4), [2.0, 1.0, 0.1])
    momentum = Momentum()
    momentum(Kernel(kernel))
    _, after = follow(Kernel(torch.full_like(kernel, lost)), momentum.before)
    same = momentum.before.replaced(after, torch.tensor(False))
    assert torch.equal(same.vectors, momentum.before.vectors)
    assert torch.equal(same.dimension, momentum.before.dimension)
    assert torch.equal(follow(Kernel(other), same)[0], follow(Kernel(other), momentum.before)[0])


def test_eigenvectors_are_the_leading_ones_in_their_order():
    basis, momentum = orthonormal(5), Momentum()
    momentum(Kernel(with_spectrum(basis, [5.0, 2.0, 0.8, 0.1, 0.02])))
    momentum(Kernel(with_spectrum(basis, [5.0, 2.0, 0.8, 0.1, 0.02])))
    vectors = momentum.before.leading()
    assert momentum.before.dimension == math.ceil(7.92**2 / (25 + 4 + 0.64 + 0.01 + 0.0004)) == 3
    products = (basis.mT @ vectors).abs()
    torch.testing.assert_close(products[:3, :3], torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-4)
    assert (vectors[:, 3:] == 0).all()


def test_more_dimensions_than_columns_are_compared_by_the_columns():
    generator = torch.Generator().manual_seed(0)
    flat = torch.linalg.qr(torch.randn(200, 200, generator=generator, dtype=torch.float64)).Q
    momentum, rank = Momentum(), torch.tensor(199.0, dtype=torch.float64)
    system = Kernel(flat * torch.linspace(2, 1, 200, dtype=torch.float64) @ flat.mT, rank)
    momentum(system)
    assert momentum.before.dimension == WIDTH == momentum.before.vectors.shape[1]
    assert 0 < momentum(system) <= LARGEST


@pytest.mark.parametrize("saved", [None, 3, 100])
def test_what_an_earlier_version_saved_is_taken_over(saved):
    kernel = with_spectrum(orthonormal(6, 120), [2.0, 1.0, 0.5])
    leading = None if saved is None else torch.linalg.eigh(kernel).eigenvectors.flip(1)[:, :saved]
    before = Principal.from_state({"leading": leading}, torch.device("cpu"))
    momentum, after = follow(Kernel(kernel), known(before, torch.zeros(120, 1).double()))
    assert after.vectors.shape == (120, WIDTH)
    if saved is None:
        assert momentum == 0
    elif saved == 3:
        assert momentum == LARGEST
    else:
        assert 0 < momentum <= LARGEST
    assert known(before, torch.zeros(7, 1).double()).dimension == 0  # eigenvectors of other walkers, or of parameters


def test_on_a_network_it_is_close_to_full_decompositions(monkeypatch, network, batches):
    ansatz = network(Molecule.atom("Be"))
    optimizer, kernels = Spring(ansatz, momentum=None, learning_rate=0.01), []

    def record(system, before):
        kernels.append(system.matrix.clone())
        return follow(system, before)

    monkeypatch.setattr(spring_module, "follow", record)
    positions, energies = next(iter(batches(1, size=40, n_electrons=4)))
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        positions = positions + 0.1 * torch.randn(positions.shape, generator=generator, dtype=positions.dtype)
        stats = optimizer.update(positions, energies)
        if step:
            assert stats["momentum"].item() == pytest.approx(exact(*kernels[:-3:-1], 39), abs=0.03)
            assert 0.3 < stats["momentum"] < 1


def test_the_update_is_that_of_spring_with_the_momentum_it_reports(network, batches, vector):
    ansatz, other = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer, spring = Spring(ansatz, momentum=None), Spring(other)
    for positions, energies in batches(4):
        spring.momentum = float(optimizer.update(positions, energies)["momentum"])
        spring.update(positions, energies)
        torch.testing.assert_close(vector(ansatz), vector(other), rtol=1e-12, atol=1e-12)
    assert 0 < spring.momentum < 1


@pytest.mark.parametrize("stop", [0, 1, 3])
def test_a_restored_optimizer_continues_exactly(stop, batches, vector, through_a_file):
    sizes = {"hidden_one": 16, "hidden_two": 4, "n_determinants": 2}
    ansatz, other = (NaturalStates(FermiNet(Molecule.atom("He"), **sizes)) for _ in range(2))
    optimizer, resumed = Spring(ansatz, momentum=None), Spring(other, momentum=None)
    for step, (positions, energies) in enumerate(batches(5)):
        if step == stop:
            other.load_state_dict(ansatz.state_dict())
            resumed.load_state_dict(through_a_file(optimizer.state_dict()))
        optimizer.update(positions.float(), energies)
        if step >= stop:
            resumed.update(positions.float(), energies)
            assert torch.equal(vector(ansatz), vector(other))
