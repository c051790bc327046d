import itertools

import pytest
import torch

from qmcnet.laplacian import pair_differences, track
from qmcnet.laplacian.supports import Kind

SCALES = torch.tensor([0.3, 1.0], dtype=torch.float64)


def electrons(x):
    return torch.tanh(x[..., None] * SCALES)  # (B, N, 3, 2)


def pairs(x):
    return torch.tanh(pair_differences(x)[..., None] * SCALES)  # (B, N, N, 3, 2)


def dense(x):
    return electrons(x) * torch.tanh(x).mean(1, keepdim=True)[..., None]  # (B, N, 3, 2)


SOURCES = {"electron": electrons, "pair": pairs, "dense": dense}
each_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def rank(source, positions):
    return source(positions).ndim


@each_source
@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("operation", [torch.sum, torch.mean], ids=["sum", "mean"])
def test_reductions_over_any_axes(source, keepdim, operation, positions, assert_tracked):
    axes = range(1, rank(source, positions))
    for dim in [*axes, *itertools.combinations(axes, 2), tuple(axes), -1, (-1, 1), [2, 1]]:
        assert_tracked(lambda x, dim=dim: operation(source(x), dim, keepdim=keepdim), positions)


@each_source
@pytest.mark.parametrize("operation", ["sum", "mean"])
def test_reductions_of_spins(source, operation, positions, assert_tracked):
    for spin in (slice(0, 1), slice(1, 4), slice(2, 4), slice(-3, -1)):
        assert_tracked(lambda x, spin=spin: getattr(source(x)[:, spin], operation)(1), positions)
        assert_tracked(lambda x, spin=spin: getattr(source(x)[..., spin, :, :], operation)(-3), positions)
        assert_tracked(lambda x, spin=spin: getattr(source(x)[:, 1:, spin], operation)(2), positions)


def test_a_mean_is_the_sum_over_the_count(positions):
    x = pair_differences(track(positions))
    assert torch.allclose(x[:, :, :3].mean((1, 2)).jacobian * 12, x[:, :, :3].sum((1, 2)).jacobian)


INDICES = {
    "ellipsis": (..., 1),
    "spin": (slice(None), slice(1, 3)),
    "two spins": (slice(None), slice(2, None), slice(None, 2)),
    "negative slice": (slice(None), slice(-2, None)),
    "electron": (slice(None), 2),
    "last electron": (slice(None), -1),
    "stride": (slice(None), slice(None, None, 2)),
    "stride of partners": (slice(None), slice(None), slice(0, 3, 2)),
    "new axis": (slice(None), None),
    "new axis inside": (slice(None), slice(1, None), None),
    "new last axis": (..., None),
    "list": (slice(None), [3, 0]),
    "features": (..., slice(0, 2), slice(1, 2)),
    "mixed": (slice(None), slice(1, 4), 0, ..., None, 1),
}


@each_source
@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing(source, index, positions, assert_tracked):
    assert_tracked(lambda x: source(x)[index], positions)


def test_slices_of_slices_remember_their_electrons(positions, assert_tracked):
    assert_tracked(lambda x: electrons(x)[:, 1:][:, 1:2] * x[:, 2:3, :, None], positions)
    assert_tracked(lambda x: pairs(x)[:, 1:, 2:][:, 2:, 1:].sum(2), positions)
    x = track(positions)
    assert x[:, 1:][:, 1:2].support.first == (2,)
    assert pair_differences(x)[:, 1:, 2:][:, 2:, 1:].support.first == (3, 3)


def test_an_empty_spin_sums_to_zero(positions):
    total = track(positions)[:, 4:].sum(1)
    assert torch.equal(total.value, torch.zeros(3, 3, dtype=torch.float64))
    assert torch.equal(total.jacobian, torch.zeros(12, 3, 3, dtype=torch.float64))


@each_source
def test_concatenation(source, positions, assert_tracked):
    ndim = rank(source, positions)
    constant = torch.ones_like(source(positions))
    for dim in [*range(1, ndim), -1, -2]:
        assert_tracked(lambda x, dim=dim: torch.cat([source(x), torch.exp(source(x))], dim), positions)
        assert_tracked(lambda x, dim=dim: torch.cat([constant, source(x), constant], dim), positions)


def test_concatenation_of_mixed_supports(positions, assert_tracked):
    for dim in (1, 2, 3):
        assert_tracked(lambda x, dim=dim: torch.cat([electrons(x), dense(x)], dim), positions)
        assert_tracked(lambda x, dim=dim: torch.cat([dense(x), electrons(x)], dim), positions)
        assert_tracked(lambda x, dim=dim: torch.cat([pairs(x)[:, 0], electrons(x)], dim), positions)
        assert_tracked(lambda x, dim=dim: torch.cat([electrons(x)[:, :2], electrons(x)[:, 2:]], dim), positions)
    assert_tracked(lambda x: torch.cat([pairs(x)[:, :2, 2:], pairs(x)[:, 2:, :2]], -1), positions)


@each_source
def test_reshaping(source, positions, assert_tracked):
    ndim = rank(source, positions)
    for axis in range(1, ndim):
        length = source(positions).shape[axis]
        assert_tracked(lambda x, a=axis, n=length: source(x).unflatten(a, (1, n)), positions)
        assert_tracked(lambda x, a=axis, n=length: torch.unflatten(source(x), a - ndim, (n, -1)), positions)
        for end in range(axis, ndim):
            assert_tracked(lambda x, a=axis, b=end: torch.flatten(source(x), a, b), positions)
            assert_tracked(lambda x, a=axis, b=end: source(x).movedim(a, b), positions)
            assert_tracked(lambda x, a=axis, b=end: torch.movedim(source(x), b - ndim, a - ndim), positions)
    for axis in range(1, ndim + 1):
        assert_tracked(lambda x, a=axis: torch.unsqueeze(source(x), a).squeeze(a), positions)
        assert_tracked(lambda x, a=axis: source(x).unsqueeze(a - ndim - 1), positions)


@each_source
def test_squeezing(source, positions, assert_tracked):
    for axis in range(1, rank(source, positions)):
        one = (slice(None),) * axis + (slice(1, 2),)
        assert_tracked(lambda x, i=one, a=axis: torch.squeeze(source(x)[i], a), positions)
        assert_tracked(lambda x, a=axis: source(x).squeeze(a), positions)


BATCH_MISUSES = {
    "sum": lambda x: x.sum(0),
    "sum of all": lambda x: x.sum(),
    "negative sum": lambda x: torch.sum(x, -x.ndim),
    "sum of two": lambda x: x.sum((0, 1)),
    "mean": lambda x: x.mean(0),
    "mean of all": lambda x: x.mean(),
    "integer": lambda x: x[0],
    "slice": lambda x: x[1:],
    "new axis": lambda x: x[None],
    "mask": lambda x: x[[True, False, True]],
    "iteration": list,
    "cat": lambda x: torch.cat([x, x]),
    "unflatten": lambda x: x.unflatten(0, (1, 3)),
    "flatten": lambda x: x.flatten(),
    "movedim from": lambda x: x.movedim(0, 1),
    "movedim to": lambda x: x.movedim(1, 0),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "squeeze": lambda x: x.squeeze(0),
    "vector_norm": lambda x: torch.linalg.vector_norm(x, dim=-x.ndim),
    "linear": lambda x: torch.nn.functional.linear(x.flatten(1)[:, 0], torch.ones(2, 3, dtype=x.dtype)),
}


@each_source
@pytest.mark.parametrize("misuse", BATCH_MISUSES.values(), ids=BATCH_MISUSES)
def test_walkers_cannot_be_mixed(source, misuse, positions):
    with pytest.raises(ValueError, match="batch axis"):
        misuse(source(track(positions)))


@pytest.mark.parametrize("dim", [3, -4, 5])
def test_missing_axes_are_refused(dim, positions):
    x = track(positions)
    for operation in (x.sum, x.mean, x.squeeze, lambda d: torch.cat([x, x], d), lambda d: x.movedim(1, d)):
        with pytest.raises(IndexError, match=f"dim={dim} is out of range"):
            operation(dim)


def test_tracking_starts_with_unit_derivatives(positions):
    x = track(positions)
    assert x.support.kind is Kind.ELECTRON
    assert torch.equal(
        x.dense().jacobian.flatten(2).movedim(1, 0), torch.eye(12, dtype=torch.float64).expand(3, -1, -1)
    )
    assert not x.laplacian.any()


def test_pair_differences_of_tensors(positions):
    differences = pair_differences(positions)
    for i, j in itertools.product(range(4), range(4)):
        assert torch.equal(differences[:, i, j], positions[:, i] - positions[:, j])


def test_pair_differences_move_with_both_electrons(positions, assert_tracked):
    assert_tracked(pair_differences, positions)
    assert pair_differences(track(positions)).support.kind is Kind.PAIR


def test_the_diagonal_of_pairs_is_constant(positions, assert_tracked):
    diagonal = torch.exp(pair_differences(track(positions))).dense()
    for i in range(4):
        assert not diagonal.jacobian[:, :, i, i].any()
        assert not diagonal.laplacian[:, i, i].any()
        assert diagonal.jacobian[:, :, i, (i + 1) % 4].any()
    assert_tracked(lambda x: torch.square(pair_differences(x) + 0.4).sum((1, 2)), positions)


def test_distances_with_a_shifted_diagonal(positions, assert_tracked):
    same = torch.eye(4, dtype=torch.float64)

    def distances(x):
        return torch.linalg.vector_norm(pair_differences(x) + same[..., None], dim=-1) * (1 - same)

    assert_tracked(distances, positions)
    assert_tracked(lambda x: torch.exp(-distances(x)).mean(2), positions)
    assert_tracked(lambda x: torch.exp(-distances(x)).sum((1, 2)), positions)
