import pytest
import torch

from qmcnet.laplacian.supports import (
    Kind,
    Support,
    accumulate,
    dense_support,
    electron_support,
    own_slots,
    pair_support,
    scatter,
    sum_over_owner,
    sum_over_partner,
)

N = 4


def random(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def without_diagonal(jacobian, first):
    for i in range(jacobian.shape[2]):
        for j in range(jacobian.shape[3]):
            if first[0] + i == first[1] + j:
                jacobian[:, :, i, j] = 0
    return jacobian


def test_owner_axes():
    assert electron_support(N).owner_axes == 1
    assert pair_support(N).owner_axes == 2
    assert dense_support(N).owner_axes == 0


@pytest.mark.parametrize(("first", "count"), [(0, 4), (0, 2), (1, 3), (3, 1)])
def test_electrons_are_scattered_to_their_directions(first, count):
    rows = random(5, 2, count, 5)
    dense = scatter(rows, Support(Kind.ELECTRON, N, (first,)))
    assert torch.equal(dense[-2:], rows[-2:])
    jacobian, wide = rows[:-2], dense[:-2].unflatten(0, (N, 3))
    for electron in range(N):
        for i in range(count):
            expected = jacobian[:, :, i] if electron == first + i else torch.zeros(3, 2, 5)
            assert torch.equal(wide[electron, :, :, i], expected.double())


@pytest.mark.parametrize(("first", "rows", "columns"), [((0, 0), 4, 4), ((0, 2), 2, 2), ((1, 0), 2, 3), ((2, 2), 2, 2)])
def test_pairs_are_scattered_to_both_electrons(first, rows, columns):
    tracked = random(5, 2, rows, columns, 5)
    jacobian = without_diagonal(tracked[:-2], first)
    dense = scatter(tracked, Support(Kind.PAIR, N, first))
    assert torch.equal(dense[-2], 2 * tracked[-2])
    assert torch.equal(dense[-1], tracked[-1])
    wide = dense[:-2].unflatten(0, (N, 3))
    for electron in range(N):
        for i in range(rows):
            for j in range(columns):
                sign = (electron == first[0] + i) - (electron == first[1] + j)
                assert torch.equal(wide[electron, :, :, i, j], sign * jacobian[:, :, i, j])


def test_accumulate_adds():
    rows, support = random(5, 2, N, 5), electron_support(N)
    dense = scatter(rows, support)
    accumulate(dense[:-2], rows[:-2], support)
    assert torch.equal(dense[:-2], 2 * scatter(rows, support)[:-2])


def test_own_slots_is_a_view():
    dense = torch.zeros(3 * N, 2, 2, 5)
    own_slots(dense, N, first=1, count=2, axis=1).fill_(1)
    by_electron = dense.unflatten(0, (N, 3))
    assert by_electron[1, :, :, 0].all()
    assert by_electron[2, :, :, 1].all()
    assert by_electron.sum() == 2 * by_electron[1, :, :, 0].sum()


@pytest.mark.parametrize(("first", "count"), [(0, 4), (1, 2), (2, 0)])
def test_sum_over_owner_is_the_sum_of_the_scattered(first, count):
    rows, support = random(5, 2, count, 5), Support(Kind.ELECTRON, N, (first,))
    torch.testing.assert_close(sum_over_owner(rows, support), scatter(rows, support).sum(2))


@pytest.mark.parametrize(("first", "rows", "columns"), [((0, 0), 4, 4), ((0, 2), 2, 2), ((1, 0), 2, 3), ((2, 1), 1, 3)])
def test_sum_over_partner_is_the_sum_of_the_scattered(first, rows, columns):
    tracked = random(5, 2, rows, columns, 5)
    without_diagonal(tracked[:-2], first)
    support = Support(Kind.PAIR, N, first)
    torch.testing.assert_close(sum_over_partner(tracked, support), scatter(tracked, support).sum(3))
