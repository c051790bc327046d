import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from qmcnet.laplacian import pair_differences, track
from qmcnet.laplacian.supports import Kind

DOUBLE = torch.float64


def constant(*shape):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(sum(shape)))


def electrons(x):
    return torch.tanh(F.linear(x, constant(8, 3)).unflatten(-1, (4, 2)))  # (B, N, 4, 2)


def pairs(x):
    return torch.tanh(F.linear(pair_differences(x), constant(3, 3)))  # (B, N, N, 3)


def dense(x):
    return electrons(x) * torch.tanh(x).mean(1, keepdim=True)[..., None, :2] + x.sum(1)[:, None, None, :2]


SOURCES = {"electron": electrons, "pair": pairs, "dense": dense}
each_source = pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)


@each_source
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_softmax_and_its_relatives_along_every_axis(source, name, positions, assert_tracked):
    for dim in (1, 2, 3, -1, -2):
        assert_tracked(lambda x, d=dim: getattr(torch, name)(source(x), d), positions)
        assert_tracked(lambda x, d=dim: getattr(source(x), name)(dim=d), positions)


@each_source
def test_softmax_of_modules_and_functional(source, positions, assert_tracked):
    for function in (nn.Softmax(-1), nn.LogSoftmax(2), lambda x: F.softmax(x, dim=1), lambda x: F.log_softmax(x, -1)):
        assert_tracked(lambda x, f=function: f(source(x)), positions)


def test_softmax_keeps_the_support_of_features(positions):
    x = track(positions)
    for source in SOURCES.values():
        assert torch.softmax(source(x), -1).support == source(x).support
    assert torch.softmax(pairs(x), 2).support.kind is Kind.DENSE


def test_softmax_of_large_scores(positions, assert_tracked):
    for function in (torch.softmax, torch.log_softmax, torch.logsumexp):
        assert_tracked(lambda x, f=function: f(800 + 30 * x, -1), positions, rtol=1e-10, atol=1e-8)


def test_a_softmax_in_another_precision_is_refused(positions):
    for function in (torch.softmax, torch.log_softmax):
        with pytest.raises(ValueError, match=r"dtype=torch\.float32"):
            function(track(positions), -1, dtype=torch.float32)


@each_source
def test_sums_of_exponentials_over_several_axes(source, positions, assert_tracked):
    for dim in ((1, 2), (-1, 2), (3, 1), [1, 2, 3]):
        for keepdim in (True, False):
            assert_tracked(lambda x, d=dim, k=keepdim: torch.logsumexp(source(x), d, keepdim=k), positions)


def test_the_logarithm_of_two_exponentials(positions, assert_tracked):
    assert_tracked(lambda x: torch.logaddexp(electrons(x), dense(x)), positions)
    assert_tracked(lambda x: torch.logaddexp(constant(3, 4, 1), torch.sin(x)), positions)
    assert_tracked(lambda x: torch.sin(x).logaddexp(x[:, :1]), positions)


def heads(source, x):
    return source(x).flatten(2).unflatten(-1, (2, -1)).transpose(1, 2)  # (B, 2, N, F)


MASK = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
OPTIONS = {
    "plain": {},
    "scale": {"scale": 0.3},
    "booleans": {"attn_mask": MASK},
    "term": {"attn_mask": torch.linspace(-1, 1, 16, dtype=DOUBLE).reshape(4, 4)},
    "causal": {"is_causal": True},
}


@each_source
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_attention(source, options, positions, assert_tracked):
    def attention(x):
        q, k, v = torch.exp(heads(source, x)), heads(source, x), torch.sin(heads(source, x))
        return F.scaled_dot_product_attention(q, k, v, **options)

    # The fused kernels of torch have no forward-mode derivative, which the reference needs.
    with sdpa_kernel(SDPBackend.MATH):
        assert_tracked(attention, positions)


def test_attention_of_one_head_and_of_constants(positions, assert_tracked):
    attend, other = F.scaled_dot_product_attention, constant(3, 5, 3)
    assert_tracked(lambda x: attend(torch.sin(x), torch.cos(x), x), positions)
    assert_tracked(lambda x: attend(torch.sin(x), other, other), positions)
    assert_tracked(lambda x: attend(other, torch.sin(x), constant(3, 4, 2)), positions)
    assert_tracked(lambda x: attend(other, constant(3, 4, 3), torch.sin(x)), positions)


def test_attention_with_a_tracked_bias(positions, assert_tracked):
    assert_tracked(
        lambda x: F.scaled_dot_product_attention(torch.sin(x), torch.cos(x), x, attn_mask=pairs(x)[..., 0]), positions
    )


def test_dropout_and_groups_are_refused(positions):
    x = track(positions)
    for options in ({"dropout_p": 0.1}, {"enable_gqa": True}):
        with pytest.raises(ValueError, match=r"dropout_p=.*enable_gqa="):
            F.scaled_dot_product_attention(x, x, x, **options)


@each_source
def test_layer_norm(source, positions, assert_tracked):
    shape = source(positions).shape
    for count in (1, 2, 3):
        last = shape[-count:]
        for weight, bias in ((None, None), (constant(*last), None), (constant(*last), constant(*last) + 1)):
            assert_tracked(
                lambda x, last=last, w=weight, b=bias: F.layer_norm(source(x) + 2, last, w, b, eps=1e-3), positions
            )


def test_layer_norm_module_keeps_the_support_of_features(positions, assert_tracked):
    layer = nn.LayerNorm(3, dtype=DOUBLE).requires_grad_(False)
    assert_tracked(layer, positions)
    assert layer(track(positions)).support.kind is Kind.ELECTRON
    assert layer(pairs(track(positions))).support.kind is Kind.PAIR


def test_layer_norm_with_little_spread(positions, assert_tracked):
    assert_tracked(lambda x: F.layer_norm(1 + 1e-3 * x, (3,), eps=1e-5), positions, rtol=1e-8, atol=1e-8)


def test_layer_norm_of_another_shape_is_refused(positions):
    with pytest.raises(ValueError, match=r"normalized_shape=\(4,\) must end the shape \(3, 4, 3\)"):
        F.layer_norm(track(positions), (4,))


MISUSES = {
    "softmax": lambda x: torch.softmax(x, 0),
    "log_softmax": lambda x: torch.log_softmax(x, 0),
    "logsumexp": lambda x: torch.logsumexp(x, (0, 1)),
    "layer_norm": lambda x: F.layer_norm(x, x.shape),
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
def test_walkers_cannot_be_mixed(misuse, positions):
    with pytest.raises(ValueError, match="batch axis"):
        misuse(track(positions))
