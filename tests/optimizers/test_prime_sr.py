import math

import pytest
import torch

from qmcnet import FermiNet, Molecule, Spring
from qmcnet.optimizers.prime_sr import PrincipalMomentum, principal_vectors

RANK = torch.tensor(20.0, dtype=torch.float64)


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
    return float(1 - (1 - overlap.sqrt()) * (1 - (alpha / rank) ** 0.25))


@pytest.mark.parametrize(
    "spectra",
    [([3.0, 1.0, 1e-3], [2.0, 1.5, 1e-4]), ([3.0, 2.5, 2.0, 1e-3], [5.0, 1e-2]), ([4.0, 1e-3], [3.0, 2.5, 2.0, 1e-3])],
    ids=["equal", "shrinking", "growing"],
)
@pytest.mark.parametrize("mixing", [0.1, 0.7])
def test_momentum_is_that_of_full_decompositions(spectra, mixing):
    before = with_spectrum(orthonormal(0), spectra[0])
    turned = torch.linalg.qr((1 - mixing) * orthonormal(0) + mixing * orthonormal(1)).Q
    kernel = with_spectrum(turned, spectra[1])
    momentum = PrincipalMomentum()
    assert momentum(before, RANK) == 0
    assert momentum(kernel, RANK).item() == pytest.approx(exact(kernel, before, RANK), abs=1e-6)


def test_a_subspace_that_stays_keeps_everything_and_one_that_leaves_keeps_the_share_of_the_dimension():
    basis, momentum = orthonormal(2), PrincipalMomentum()
    here, there = with_spectrum(basis, [1.0, 0.8]), with_spectrum(basis.flip(1), [1.0, 0.8])
    momentum(here, RANK)
    assert momentum(2 * here, RANK).item() == pytest.approx(1, abs=1e-6)
    momentum = PrincipalMomentum()
    momentum(here, RANK)
    assert momentum(there + 1e-9 * here, RANK).item() == pytest.approx((1.8**2 / 1.64 / 20) ** 0.25, abs=1e-3)


@pytest.mark.parametrize("lost", [0.0, math.nan])
def test_a_batch_without_walkers_keeps_nothing_and_is_not_remembered(lost):
    kernel, momentum, reference = (
        with_spectrum(orthonormal(3), [2.0, 1.0, 0.1]),
        PrincipalMomentum(),
        PrincipalMomentum(),
    )
    momentum(kernel, RANK)
    reference(kernel, RANK)
    assert momentum(torch.full_like(kernel, lost), RANK) == 0
    other = with_spectrum(orthonormal(4), [2.0, 1.0, 0.1])
    assert torch.equal(momentum(other, RANK), reference(other, RANK))


def test_principal_vectors_span_the_leading_subspace():
    basis = orthonormal(5)
    matrix = with_spectrum(basis, [5.0, 4.0, 3.0, 0.1, 0.05])
    vectors = principal_vectors(matrix, 3, None)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (basis[:, :3].mT @ vectors).norm().item() == pytest.approx(3**0.5, abs=1e-8)


def test_on_a_network_it_is_close_to_full_decompositions(network, batches):
    ansatz = network(Molecule.atom("Be"))
    optimizer, kernels = Spring(ansatz, momentum=None, learning_rate=0.01), []
    compute = optimizer.principal

    def record(kernel, rank):
        kernels.append(kernel.clone())
        return compute(kernel, rank)

    optimizer.principal = record
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
    ansatz, other = FermiNet(Molecule.atom("He"), **sizes), FermiNet(Molecule.atom("He"), **sizes)
    optimizer, resumed = Spring(ansatz, momentum=None), Spring(other, momentum=None)
    for step, (positions, energies) in enumerate(batches(5)):
        if step == stop:
            other.load_state_dict(ansatz.state_dict())
            resumed.load_state_dict(through_a_file(optimizer.state_dict()))
        optimizer.update(positions.float(), energies)
        if step >= stop:
            resumed.update(positions.float(), energies)
            assert torch.equal(vector(ansatz), vector(other))
