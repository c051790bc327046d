import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from qmcnet.laplacian import pair_differences, track
from qmcnet.laplacian.supports import Kind


def constant(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def electrons(x):
    return torch.tanh(F.linear(x, constant(2 * x.shape[1], 3)).unflatten(-1, (-1, 2)))  # (B, N, N, 2)


def pairs(x):
    return torch.tanh(F.linear(pair_differences(x), constant(2, 3)))  # (B, N, N, 2)


def dense(x):
    return electrons(x) * torch.tanh(x).mean(1, keepdim=True)[..., None, :2]  # (B, N, N, 2)


SOURCES = {"electron": electrons, "pair": pairs, "dense": dense}
each_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


ONE = [
    "bijk->bijk",
    "bijk->bkji",
    "bijk->bj",
    "bijk->bik",
    "bijk->bki",
    "bijk->b",
    "b...k->bk...",
    "...k->...",
    "b...->b",
]


@each_source
@pytest.mark.parametrize("equation", ONE)
def test_einsum_of_one_operand(source, equation, positions, assert_tracked):
    assert_tracked(lambda x: torch.einsum(equation, source(x)), positions)


@each_source
def test_einsum_of_diagonals(source, positions, assert_tracked):
    def square(x):
        return source(x)[:, :2, :2]

    for equation in ("biik->bik", "biik->bk", "biik->bki", "biij->bij"):
        assert_tracked(lambda x, e=equation: torch.einsum(e, square(x)), positions)


WITH_CONSTANT = ["bijk,gk->bijg", "bijk,ij->bijk", "bijk,ij->bk", "bijk,ijk->b", "bijk,bij->bik", "...k,gk->...g"]
CONSTANT_FIRST = ["gk,bijk->bigj", "ig,bijk->bgjk", "ij,bijk->bijk", "b,bijk->bkji", "g,b...->bg..."]


@each_source
@pytest.mark.parametrize("equation", [*WITH_CONSTANT, *CONSTANT_FIRST])
def test_einsum_with_a_constant(source, equation, positions, assert_tracked):
    swap = equation in CONSTANT_FIRST
    letters = equation.split("->")[0].split(",")[0 if swap else 1]
    sizes = dict(zip("bijkg", (*source(positions).shape, 3), strict=True))
    other = constant(*(sizes[letter] for letter in letters))
    assert_tracked(lambda x: torch.einsum(equation, *([other, source(x)] if swap else [source(x), other])), positions)


TWO = [
    "bijk,bijk->bijk",
    "bijk,bijk->bij",
    "bijk,bijk->bkj",
    "bijk,bijk->b",
    "bijk,bljk->bil",
    "bijk,bljk->bli",
    "bijk,bljk->bijl",
    "bijk,bljk->bk",
    "bijk,bljk->bi",
    "bijk,bljk->bjlki",
    "bijk,blmk->bimlj",
]
SPINS = {
    "all": (slice(None), slice(None)),
    "apart": (slice(0, 1), slice(1, 2)),
    "overlap": (slice(0, 2), slice(1, 3)),
}


@pytest.mark.parametrize("equation", TWO)
@pytest.mark.parametrize("first", SOURCES.values(), ids=SOURCES)
@pytest.mark.parametrize("second", SOURCES.values(), ids=SOURCES)
def test_einsum_of_two(first, second, equation, positions, assert_tracked):
    for one, two in SPINS.values():
        assert_tracked(
            lambda x, one=one, two=two: torch.einsum(equation, torch.exp(first(x))[:, one], second(x)[:, two] + 0.3),
            positions[:2, :3],
        )


ANOTHER_AXIS = ["bijk,bjlm->bilk", "bijk,bjlm->bikl", "bijk,bjlm->bj", "bijk,bjlm->bijklm"]
ANOTHER_AXIS += ["bijk,bmil->bkl", "bijk,bmil->bimj", "bijk,bjil->bijkl", "bijk,bjil->bl"]


@pytest.mark.parametrize("equation", ANOTHER_AXIS)
@pytest.mark.parametrize("first", SOURCES.values(), ids=SOURCES)
def test_einsum_of_an_electron_axis_with_another_axis(first, equation, positions, assert_tracked):
    for second in SOURCES.values():
        assert_tracked(lambda x, y=second: torch.einsum(equation, torch.exp(first(x)), y(x)), positions[:2, :3])


def test_spins_that_overlap_in_both_axes_of_a_pair(positions, assert_tracked):
    def function(x):
        r = pairs(x)
        return torch.einsum("bijk,bjlk->bil", r[:, :3, 1:], r[:, 1:, :2])

    assert_tracked(function, positions)
    assert_tracked(lambda x: torch.einsum("bijk,bmlk->bjml", pairs(x)[:, :3, 2:], pairs(x)[:, 1:, :3]), positions)
    assert_tracked(lambda x: torch.einsum("bijk,bijk->bij", pairs(x)[:, :2, 2:], pairs(x)[:, 2:, :2]), positions)


def test_electrons_passing_messages_along_pairs(positions, assert_tracked):
    for source in (lambda x: electrons(x).flatten(2), lambda x: dense(x).flatten(2)):
        for equation in ("bijc,bjf->bicf", "bijc,bjf->bif", "bijc,bif->bjf", "bijc,bif->bijcf"):
            assert_tracked(lambda x, s=source, e=equation: torch.einsum(e, pairs(x), s(x)), positions)
        assert_tracked(lambda x, s=source: torch.einsum("bjf,bijc->bfi", s(x), pairs(x)), positions)


def test_einsum_of_two_with_a_diagonal(positions, assert_tracked):
    for first, second in itertools.product(SOURCES.values(), SOURCES.values()):
        for equation in ("biik,bijk->bij", "bijk,bllk->bil", "biik,bjjk->bij", "biik,biik->bk"):
            assert_tracked(
                lambda x, e=equation, y=first, z=second: torch.einsum(e, torch.exp(y(x)), z(x)), positions[:2, :3]
            )


def test_products_keep_their_support_where_owners_stay(positions):
    x = track(positions)
    one, two = electrons(x), pairs(x)
    assert torch.einsum("bijk,bijl->bikl", one, one).support == one.support
    assert torch.einsum("bijk,gk->bijg", two, constant(5, 2)).support == two.support
    assert torch.einsum("bijk,bijl->bijkl", two, two).support == two.support
    assert (one @ constant(2, 5)).support == one.support
    assert torch.einsum("bijk,bljk->bil", one, one).support.kind is Kind.DENSE
    assert torch.einsum("bijk->bkji", one).support.kind is Kind.DENSE


def test_einsum_of_more_operands(positions, assert_tracked):
    weight = constant(4, 4)
    assert_tracked(lambda x: torch.einsum("bik,bjk,ij->bij", x.sin(), x.cos(), weight), positions)
    assert_tracked(lambda x: torch.einsum("ij,bik,bjk->b", weight, x.sin(), x.cos()), positions)
    assert_tracked(lambda x: torch.einsum("ij,jl,blk->bik", weight, weight, torch.tanh(x)), positions)
    assert_tracked(lambda x: torch.einsum("bik,bil,bim->bklm", x.sin(), x.cos(), torch.tanh(x)), positions)


def test_einsum_broadcasts_axes_of_length_one(positions, assert_tracked):
    for equation in ("bik,bik->bik", "bik,bik->b", "bik,bik->bki"):
        assert_tracked(lambda x, e=equation: torch.einsum(e, torch.sin(x), x[:, 1:2]), positions)
        assert_tracked(lambda x, e=equation: torch.einsum(e, x[:, 1:2], torch.sin(x)), positions)
        assert_tracked(lambda x, e=equation: torch.einsum(e, x[:, 1:2], constant(1, 4, 3)), positions)
    assert_tracked(lambda x: torch.einsum("bik,bjk->bij", torch.sin(x), x[:, 2:3]), positions)


MATMULS = {
    "scores": lambda x, s: s(x) @ s(x).transpose(-2, -1),
    "electrons first": lambda x, s: s(x).flatten(2) @ s(x).flatten(2).transpose(1, 2),
    "electrons contracted": lambda x, s: s(x).flatten(2).transpose(1, 2) @ s(x).flatten(2),
    "weights": lambda x, s: s(x) @ constant(s(x).shape[-1], 5),
    "vector": lambda x, s: torch.matmul(s(x), constant(s(x).shape[-1])),
    "constant first": lambda x, s: constant(5, s(x).shape[-2]) @ s(x),
    "constant matrices": lambda x, s: constant(1, 1, 5, s(x).shape[-2]) @ s(x),
    "row first": lambda x, s: torch.matmul(constant(s(x).shape[-2]), s(x)),
    "bmm": lambda x, s: torch.bmm(s(x).flatten(2), s(x).flatten(2).transpose(1, 2)),
    "method": lambda x, s: s(x).flatten(2).bmm(s(x).flatten(2).transpose(1, 2)).matmul(constant(4, 2)),
    "broadcast": lambda x, s: s(x)[:, :1] @ s(x).transpose(-2, -1),
    "walkers": lambda x, s: s(x).flatten(1).mm(constant(s(x).flatten(1).shape[1], 2)),
    "dot": lambda x, s: torch.mv(s(x).flatten(1), constant(s(x).flatten(1).shape[1])),
}


@each_source
@pytest.mark.parametrize("function", MATMULS.values(), ids=MATMULS)
def test_matmul(source, function, positions, assert_tracked):
    assert_tracked(lambda x: function(x, source), positions)


def test_bilinear_layers(positions, assert_tracked):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Bilinear(3, 3, 4, dtype=torch.float64).requires_grad_(False)
    assert_tracked(lambda x: layer(torch.sin(x), x), positions)
    assert_tracked(lambda x: F.bilinear(torch.sin(x), x, layer.weight), positions)


MIXING = {
    "sum of walkers": lambda x: torch.einsum("bik->ik", x),
    "batch moved": lambda x: torch.einsum("bik->ibk", x),
    "batch as partner": lambda x: torch.einsum("bik,cjk->bcij", x, x),
    "batch contracted": lambda x: torch.einsum("bik,kjb->bij", x, torch.tanh(x)),
    "batch twice": lambda x: torch.einsum("bbk->bk", x[:, :3]),
    "constant from the left": lambda x: constant(5, 3) @ x.flatten(1),
    "matrices": lambda x: torch.mm(x[:, :3, 0], x[:, :3, 1]),
}


@pytest.mark.parametrize("misuse", MIXING.values(), ids=MIXING)
def test_walkers_cannot_be_mixed(misuse, positions):
    with pytest.raises(ValueError, match="mixes walkers"):
        misuse(track(positions))


@pytest.mark.parametrize("equation", ["bik,bjk", "bik->bi", "bik,bjk,bk->b", "bik,bjkl->bij", "bi,bjk->bij"])
def test_equations_that_do_not_fit_are_refused(equation, positions):
    x = track(positions)
    with pytest.raises(ValueError, match=f"einsum .*{equation}"):
        torch.einsum(equation, x, x)
