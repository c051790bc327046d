import itertools

import pytest
import torch
import torch.nn.functional as F

from qmcnet.laplacian import LapTuple, pair_differences, track
from qmcnet.laplacian.supports import Kind

DOUBLE = torch.float64


def constant(*shape):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(sum(shape)))


def electrons(x):
    return torch.tanh(F.linear(x, constant(8, 3)).unflatten(-1, (4, 2)))  # (B, N, 4, 2)


def pairs(x):
    return torch.tanh(F.linear(pair_differences(x), constant(2, 3)))  # (B, N, N, 2)


def dense(x):
    return electrons(x) * torch.tanh(x).mean(1, keepdim=True)[..., None, :2]  # (B, N, 4, 2)


SOURCES = {"electron": electrons, "pair": pairs, "dense": dense}
each_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


def agree(function, source, positions, assert_tracked):
    """Compare with the reference, and with the same steps on a jacobian written out."""
    assert_tracked(lambda x: function(source(x)), positions)
    sparse, wide = function(source(track(positions))).dense(), function(source(track(positions)).dense())
    torch.testing.assert_close(sparse.rows, wide.rows, rtol=1e-12, atol=1e-12)


@each_source
@pytest.mark.parametrize("name", ["transpose", "swapaxes", "swapdims"])
def test_exchanging_axes(source, name, positions, assert_tracked):
    for first, second in itertools.product((1, 2, -1), (1, -2, 3)):
        agree(lambda y, a=first, b=second: getattr(torch, name)(y, a, b), source, positions, assert_tracked)
    agree(lambda y: getattr(y, name)(-2, -1), source, positions, assert_tracked)


@each_source
def test_gathering(source, positions, assert_tracked):
    for axis, index in itertools.product((1, 2, -1), ([1, 0], [1, 1, 0])):
        agree(lambda y, a=axis, i=index: y.index_select(a, torch.tensor(i)), source, positions, assert_tracked)
    agree(lambda y: torch.index_select(y, -2, torch.tensor([3, 1, 3])), source, positions, assert_tracked)


@each_source
def test_permutations(source, positions, assert_tracked):
    for order in itertools.permutations((1, 2, 3)):
        agree(lambda y, order=order: torch.permute(y, (0, *order)), source, positions, assert_tracked)
    agree(lambda y: y.permute(0, -1, 1, 2), source, positions, assert_tracked)
    agree(lambda y: y.permute([-4, 1, 3, 2]), source, positions, assert_tracked)


@each_source
def test_reshaping(source, positions, assert_tracked):
    for shape in ((3, 4, 8), (3, -1), (3, 4, 2, 2, 2), (-1, 8, 4), (3, 1, 4, 4, 2), (-1, 4, 4, 2)):
        agree(lambda y, s=shape: y.reshape(s), source, positions, assert_tracked)
        agree(lambda y, s=shape: y.view(*s), source, positions, assert_tracked)
        agree(lambda y, s=shape: torch.reshape(y, s), source, positions, assert_tracked)


def test_heads_as_they_are_usually_written(positions, assert_tracked):
    def split_and_join(x):
        y = dense(x).flatten(2)
        batch, electrons_, features = y.size()
        y = y.view(batch, electrons_, 2, features // 2).transpose(1, 2) * 2
        return y.transpose(1, 2).contiguous().view(batch, y.size(2), -1)

    assert_tracked(split_and_join, positions)


@each_source
def test_cutting(source, positions, assert_tracked):
    for dim in (1, 2, -1):
        agree(lambda y, d=dim: torch.split(y, 1, d)[-1], source, positions, assert_tracked)
        agree(lambda y, d=dim: y.chunk(2, dim=d)[1], source, positions, assert_tracked)
        agree(lambda y, d=dim: torch.chunk(y, 2, d)[0], source, positions, assert_tracked)
        agree(lambda y, d=dim: y.unbind(d)[1], source, positions, assert_tracked)
        agree(lambda y, d=dim: torch.unbind(y, d)[0], source, positions, assert_tracked)
    agree(lambda y: y.split([1, 3], 1)[1] * y.split((3, 1), dim=1)[0], source, positions, assert_tracked)


def test_pieces_of_spins_remember_their_electrons(positions):
    up, down = electrons(track(positions)).split([1, 3], 1)
    assert (up.support.first, down.support.first) == ((0,), (1,))
    assert [len(pieces) for pieces in (track(positions).split(3, 1), track(positions).unbind(2))] == [2, 3]


@each_source
def test_stacking(source, positions, assert_tracked):
    for dim in (1, 2, 3, 4, -1, -2):
        agree(lambda y, d=dim: torch.stack([y, torch.exp(y), y], d), source, positions, assert_tracked)
        agree(
            lambda y, d=dim: torch.stack([torch.ones(y.shape, dtype=DOUBLE), y], d), source, positions, assert_tracked
        )


def test_stacking_mixed_supports(positions, assert_tracked):
    for dim in (1, 2, -1):
        assert_tracked(lambda x, d=dim: torch.stack([electrons(x), pairs(x), dense(x)], d), positions)


@each_source
def test_expanding(source, positions, assert_tracked):
    agree(lambda y: y[..., :1].expand(-1, -1, -1, 5), source, positions, assert_tracked)
    agree(lambda y: y[:, :1].expand(3, 4, -1, 2), source, positions, assert_tracked)
    agree(lambda y: y[:, :, 1:2].expand([3, 4, 4, 2]), source, positions, assert_tracked)
    agree(lambda y: torch.broadcast_to(y[..., None], (3, 4, 4, 2, 3)), source, positions, assert_tracked)
    agree(lambda y: y[..., None].broadcast_to(3, 4, 4, 2, 3), source, positions, assert_tracked)


MASK = torch.rand(4, 4, 1, generator=torch.Generator().manual_seed(1)) < 0.5


@each_source
def test_choosing_by_a_mask(source, positions, assert_tracked):
    assert MASK.any() and not MASK.all()
    agree(lambda y: torch.where(MASK, y, torch.exp(y)), source, positions, assert_tracked)
    agree(lambda y: torch.where(MASK, y, 0.1), source, positions, assert_tracked)
    agree(lambda y: torch.where(MASK, 0.1, y), source, positions, assert_tracked)
    agree(lambda y: torch.where(MASK, constant(3, 4, 4, 2), y), source, positions, assert_tracked)
    agree(lambda y: y.where(MASK, constant(2)), source, positions, assert_tracked)
    agree(lambda y: y[:, :1].where(MASK, torch.exp(y)), source, positions, assert_tracked)
    agree(lambda y: y.masked_fill(MASK, 0.1), source, positions, assert_tracked)
    agree(lambda y: torch.masked_fill(y, MASK, torch.tensor(-2.5, dtype=DOUBLE)), source, positions, assert_tracked)


def test_choosing_between_mixed_supports(positions, assert_tracked):
    assert_tracked(lambda x: torch.where(MASK, electrons(x), dense(x)), positions)
    assert_tracked(lambda x: torch.where(MASK, pairs(x), electrons(x)), positions)


def test_entries_left_out_may_be_infinite(positions):
    x = track(positions)
    y = torch.where(positions > 0, torch.log(x), 0.0)
    assert y.rows.isfinite().all()
    assert torch.isneginf(x.masked_fill(positions > 0, -torch.inf).value[positions > 0]).all()


def test_a_tracked_mask_is_refused(positions):
    x = track(positions)
    with pytest.raises(NotImplementedError, match="masks that do not depend"):
        torch.where(x, x, x)


def test_constants_like_a_tracked_tensor_are_plain(positions):
    x = track(positions)
    for result, value in (
        (torch.zeros_like(x), 0),
        (torch.ones_like(x), 1),
        (torch.full_like(x, 3), 3),
        (x.new_zeros(2, 2), 0),
        (x.new_ones(2), 1),
    ):
        assert type(result) is torch.Tensor
        assert result.dtype == DOUBLE
        assert (result == value).all()
    assert torch.zeros_like(x).shape == x.shape


def test_features_move_without_losing_the_support(positions):
    x = electrons(track(positions))
    for result in (
        x.transpose(2, 3),
        x.permute(0, 1, 3, 2),
        x.reshape(3, 4, -1),
        x.chunk(2, -1)[0],
        x.unbind(2)[0],
        torch.stack([x, x], 2),
        x[..., :1].expand(-1, -1, -1, 7),
        torch.where(MASK, x, 0.0),
    ):
        assert isinstance(result, LapTuple)
        assert result.support.kind is Kind.ELECTRON


BATCH_MISUSES = {
    "transpose": lambda x: x.transpose(0, 1),
    "swapaxes": lambda x: torch.swapaxes(x, 1, -3),
    "permute": lambda x: x.permute(1, 0, 2),
    "reshape": lambda x: x.reshape(-1, 3),
    "view": lambda x: x.view(6, 2, 3),
    "expand": lambda x: x[:, :1, :1].expand(5, 1, 3),
    "split": lambda x: x.split(1),
    "chunk": lambda x: torch.chunk(x, 3),
    "unbind": lambda x: x.unbind(),
    "stack": lambda x: torch.stack([x, x]),
}


@pytest.mark.parametrize("misuse", BATCH_MISUSES.values(), ids=BATCH_MISUSES)
def test_walkers_cannot_be_mixed(misuse, positions):
    with pytest.raises(ValueError, match="batch axis"):
        misuse(track(positions))


def test_missing_axes_are_refused(positions):
    x = track(positions)
    for attempt in (lambda: x.transpose(1, 3), lambda: x.unbind(4), lambda: torch.stack([x], 4)):
        with pytest.raises(IndexError, match="out of range"):
            attempt()
