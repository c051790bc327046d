import pytest
import torch

from qmcnet.ansatz.attention import Attention

B, N, HEADS, SIZE = 2, 4, 3, 5
F = HEADS * SIZE


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def attention(bias=False):
    module = Attention(HEADS, SIZE, bias).double().requires_grad_(False)
    for seed, parameter in enumerate(module.parameters()):
        parameter.copy_(random(*parameter.shape, seed=seed) / 2)
    return module


@pytest.mark.parametrize("bias", [False, True])
def test_attention_is_that_of_a_loop_over_heads_and_electrons(bias, plain_attention):
    module, looking, seen = attention(bias), random(B, N, F, seed=8), random(B, N, F, seed=9)
    expected = [torch.stack(plain_attention(module, own, other)) for own, other in zip(looking, seen, strict=True)]
    torch.testing.assert_close(module(looking, seen), torch.stack(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("bias", "count"), [(False, 4 * F * F), (True, 4 * F * F + 4 * F)])
def test_four_square_maps(bias, count):
    assert sum(parameter.numel() for parameter in attention(bias).parameters()) == count


def test_electrons_that_change_places_take_their_features_along():
    module, looking, seen, order = attention(), random(B, N, F, seed=8), random(B, N, F, seed=9), [2, 0, 3, 1]
    torch.testing.assert_close(module(looking[:, order], seen[:, order]), module(looking, seen)[:, order])
    assert not torch.allclose(module(looking[:, order], seen), module(looking, seen)[:, order])


def test_without_queries_all_are_seen_alike():
    module, seen = attention(), random(B, N, F, seed=9)
    module.query.weight.zero_()
    average = module.output(module.value(seen).mean(1, keepdim=True)).expand(B, N, F)
    torch.testing.assert_close(module(random(B, N, F), seen), average)


def test_scores_are_scaled_by_the_size_of_a_head():
    """Queries and keys of variance one give scores of variance one."""
    module = Attention(1, 400).double().requires_grad_(False)
    for linear in (module.query, module.key, module.value, module.output):
        linear.weight.copy_(torch.eye(400))
    looking, seen = random(1, 2, 400), torch.zeros(1, 2, 400, dtype=torch.float64)
    seen[0, 0, 0] = 1  # the first feature gathered is the weight of the first electron
    difference = (looking[0, 1] * (looking[0, 0] - looking[0, 1])).sum() / 20
    assert torch.logit(module(looking, seen)[0, 1, 0]).item() == pytest.approx(difference.item(), rel=1e-9)


def test_a_single_electron_sees_itself():
    module, seen = attention(True), random(B, 1, F)
    torch.testing.assert_close(module(random(B, 1, F, seed=3), seen), module.output(module.value(seen)))
