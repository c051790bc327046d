import itertools

import pytest
import torch

from qmcnet.ansatz.features import features, spin_slices
from qmcnet.laplacian import track
from qmcnet.laplacian.supports import Kind
from qmcnet.system.molecule import Molecule

MOLECULE = Molecule.from_atoms([["He", 0, 0, 0], ["H", 0, 0.5, 1.2]], "bohr", spin=1)
NUCLEI = MOLECULE.nuclei


@pytest.fixture
def positions():
    return torch.randn(5, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_electron_nucleus_features(positions):
    result = features(positions, NUCLEI, MOLECULE)
    for i, a in itertools.product(range(3), range(2)):
        vector = positions[:, i] - NUCLEI[a]
        assert torch.equal(result.r_en[:, i, a], vector)
        torch.testing.assert_close(result.d_en[:, i, a], vector.square().sum(-1).sqrt(), rtol=1e-14, atol=0)


def test_electron_electron_features(positions):
    result = features(positions, NUCLEI, MOLECULE)
    for i, j in itertools.product(range(3), range(3)):
        vector = positions[:, i] - positions[:, j]
        assert torch.equal(result.r_ee[:, i, j], vector)
        torch.testing.assert_close(result.d_ee[:, i, j], vector.square().sum(-1).sqrt(), rtol=1e-14, atol=0)
    assert not result.d_ee.diagonal(dim1=1, dim2=2).any()


def test_distances_have_finite_gradients(positions):
    positions.requires_grad_()
    features(positions, NUCLEI, MOLECULE).d_ee.sum().backward()
    assert torch.isfinite(positions.grad).all()
    expected = torch.zeros_like(positions)
    for i, j in itertools.permutations(range(3), 2):
        unit = (positions[:, i] - positions[:, j]) / (positions[:, i] - positions[:, j]).norm(dim=-1, keepdim=True)
        expected[:, i] += 2 * unit.detach()
    torch.testing.assert_close(positions.grad, expected)


def test_tracked_features_are_sparse(positions):
    result = features(track(positions), NUCLEI, MOLECULE)
    assert [item.support.kind for item in result] == [Kind.ELECTRON, Kind.ELECTRON, Kind.PAIR, Kind.PAIR]
    for tracked, plain in zip(result, features(positions, NUCLEI, MOLECULE), strict=True):
        torch.testing.assert_close(tracked.value, plain)


@pytest.mark.parametrize(
    ("n_up", "n_down", "slices"),
    [(2, 1, [slice(0, 2), slice(2, 3)]), (3, 0, [slice(0, 3)]), (0, 2, [slice(0, 2)]), (0, 0, [])],
)
def test_spins_without_electrons_have_no_slice(n_up, n_down, slices):
    assert spin_slices(n_up, n_down) == slices


def test_distances_are_smooth_at_a_nucleus_behind_a_core_potential_alone():
    molecule = Molecule.diatomic("Be", "H", 2.5, "bohr", spin=1).with_ecp({"Be": "ccecp"})
    r = torch.tensor([1e-5, 2e-5], dtype=torch.float64)
    near = molecule.nuclei[:, None, None] + r[:, None, None] * torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    first, second = (
        features(place.expand(2, 3, 3), molecule.nuclei, molecule).d_en[:, 0, nucleus]
        for nucleus, place in enumerate(near)
    )
    assert (first[1] - first[0]).abs() < 1e-9
    assert (second[1] - second[0]).item() == pytest.approx(1e-5, rel=1e-6)
