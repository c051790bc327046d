import pytest
import torch
import torch.nn.functional as F

from qmcnet.laplacian import pair_differences, track
from qmcnet.laplacian.supports import Kind

OPERATORS = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y * y + 0.7),
    "torch.add": lambda x, y: torch.add(x, y, alpha=0.3),
    "torch.sub": lambda x, y: torch.sub(x, y, alpha=0.3),
    "torch.rsub": lambda x, y: torch.rsub(x, y),
    "torch.mul": torch.mul,
    "torch.div": lambda x, y: torch.div(x, torch.square(y) + 0.7),
}
SOURCES = {
    "electron": torch.tanh,
    "pair": lambda x: torch.tanh(pair_differences(x))[:, 1],
    "dense": lambda x: torch.tanh(x).mean(1, keepdim=True) * x.sum(1, keepdim=True),
    "dense of all": lambda x: torch.exp(-0.1 * x.square()).sum(-1, keepdim=True).movedim(1, 2).movedim(1, 2),
    "up": lambda x: torch.sigmoid(x)[:, :2],
    "down": lambda x: torch.sigmoid(x)[:, 2:],
}
each_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


@each_operator
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("electron", "electron"),
        ("electron", "dense"),
        ("dense", "electron"),
        ("dense of all", "electron"),
        ("electron", "dense of all"),
        ("dense", "dense of all"),
        ("electron", "pair"),
        ("pair", "electron"),
        ("up", "down"),
        ("up", "dense"),
        ("down", "dense"),
        ("dense", "down"),
    ],
)
def test_operator_between_supports(operator, first, second, positions, assert_tracked):
    assert_tracked(lambda x: operator(SOURCES[first](x), SOURCES[second](x)), positions)


@each_operator
def test_operator_between_pairs(operator, positions, assert_tracked):
    assert_tracked(lambda x: operator(torch.tanh(pair_differences(x)), pair_differences(x)), positions)
    assert_tracked(lambda x: operator(pair_differences(x)[:, :2, 2:], pair_differences(x)[:, 2:, :2]), positions)
    assert_tracked(lambda x: operator(pair_differences(x), torch.tanh(x)[:, None]), positions)
    assert_tracked(lambda x: operator(torch.tanh(x)[:, :, None], pair_differences(x)), positions)


@each_operator
def test_operator_with_a_constant(operator, positions, assert_tracked):
    generator = torch.Generator().manual_seed(1)
    for shape in [(3,), (4, 3), (3, 4, 3), (3, 1, 3), (1, 1, 3)]:
        other = torch.randn(shape, dtype=torch.float64, generator=generator)
        assert_tracked(lambda x, other=other: operator(x, other), positions)
        assert_tracked(lambda x, other=other: operator(other, x), positions)


@pytest.mark.parametrize("number", [0.7, -3])
def test_numbers(number, positions, assert_tracked):
    assert_tracked(lambda x: (number + x) * number - (number - x) * x / number, positions)
    assert_tracked(lambda x: number / (x.square() + 1) - (-x) - number, positions)


def test_a_constant_may_widen_features_electrons_and_partners(positions, assert_tracked):
    wide = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for operator in (lambda x, y: x * y, lambda x, y: x + y):
        assert_tracked(lambda x, f=operator: f(x[..., :1], wide), positions)
        assert_tracked(lambda x, f=operator: f(x[:, 1:2, :1], wide), positions)
        assert_tracked(lambda x, f=operator: f(pair_differences(x)[:, :, 1:2, :1], wide), positions)


def test_sums_keep_the_sparsest_support_that_holds(positions):
    x = track(positions)
    pairs = pair_differences(x)
    assert (x + torch.tanh(x)).support.kind is Kind.ELECTRON
    assert (pairs * torch.tanh(pairs)).support.kind is Kind.PAIR
    assert (x[:, :2] + x[:, 2:]).support.kind is Kind.DENSE
    assert (pairs + x[:, None]).support.kind is Kind.DENSE


def test_addition_does_not_change_its_operands(positions):
    x = track(positions)
    mean = x.mean(1, keepdim=True)
    before = mean.jacobian.clone()
    for result in (mean + x, x + mean, mean * x, mean + x[:, :1]):
        result.jacobian.add_(1)
    assert torch.equal(mean.jacobian, before)
    assert torch.equal(track(positions).jacobian, x.jacobian)


def test_ranks_must_agree():
    # With as many walkers as electrons torch would broadcast walkers against electrons.
    x = track(torch.ones(4, 4, 3, dtype=torch.float64))
    for attempt in (lambda: x + pair_differences(x), lambda: x * pair_differences(x), lambda: x + x.value[None]):
        with pytest.raises(ValueError, match="ranks differ"):
            attempt()


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias, positions, assert_tracked):
    layer = torch.nn.Linear(3, 5, bias=bias, dtype=torch.float64)
    layer.requires_grad_(False)
    assert_tracked(lambda x: layer(torch.tanh(x)), positions)
    assert_tracked(lambda x: layer(torch.tanh(pair_differences(x))), positions)
    assert_tracked(lambda x: layer(torch.tanh(x).mean(1)), positions)
    weight = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_tracked(lambda x: F.linear(torch.tanh(x).sum(-1), weight), positions)
    assert_tracked(lambda x: F.linear(torch.tanh(pair_differences(x)).sum(-1), weight), positions)


def test_linear_keeps_the_support(positions):
    weight = torch.ones(2, 3, dtype=torch.float64)
    assert F.linear(track(positions), weight).support.kind is Kind.ELECTRON
    assert F.linear(pair_differences(track(positions)), weight).support.kind is Kind.PAIR


@pytest.mark.parametrize("keepdim", [True, False])
def test_vector_norm(keepdim, positions, assert_tracked):
    def norm(x, dim):
        return torch.linalg.vector_norm(x, dim=dim, keepdim=keepdim)

    nuclei = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_tracked(lambda x: norm(x[..., None, :] - nuclei, -1), positions)
    assert_tracked(lambda x: norm(x[..., None, :] - nuclei, -2), positions)
    assert_tracked(lambda x: norm(pair_differences(x) + 5.0, -1), positions)
    assert_tracked(lambda x: norm(torch.tanh(x) + x.mean(1, keepdim=True), -1), positions)


def test_vector_norm_over_electrons(positions, assert_tracked):
    assert_tracked(lambda x: torch.linalg.vector_norm(x, dim=-2), positions)
    assert_tracked(lambda x: torch.linalg.vector_norm(pair_differences(x), dim=-3), positions)


@pytest.mark.parametrize("arguments", [{"ord": 1}, {"dim": 2}, {"dim": (-1, -2)}, {"dim": None}])
def test_other_norms_are_refused(arguments, positions):
    with pytest.raises(NotImplementedError, match="vector_norm"):
        torch.linalg.vector_norm(track(positions), **arguments)


def test_in_place_operations_change_the_object_and_nothing_else(positions, assert_tracked):
    weight = torch.linspace(-1, 1, 15, dtype=torch.float64).unflatten(0, (5, 3))

    def function(x):
        own = F.linear(x, weight)
        same = own
        own += torch.tanh(x).sum(1, keepdim=True).sum(-1, keepdim=True)  # ELECTRON becomes DENSE
        own += torch.exp(own.mean(1, keepdim=True))  # DENSE onto DENSE, broadcast
        own *= 0.3
        own *= torch.arange(5, dtype=torch.float64)
        own += 1.5
        assert own is same
        return own

    assert_tracked(function, positions)


def test_in_place_operations_leave_operands_alone(positions):
    x = track(positions)
    total = torch.tanh(x).sum(1, keepdim=True).dense()
    wide = x.dense()
    before = total.rows.clone(), wide.rows.clone()
    result = wide + 0
    result += total
    result *= 2
    assert torch.equal(total.rows, before[0])
    assert torch.equal(wide.rows, before[1])
    torch.testing.assert_close(result.rows, 2 * (wide + total).rows)


def test_in_place_operations_do_not_change_shapes(positions):
    x = track(positions)
    with pytest.raises(RuntimeError, match=r"in place, a tensor of shape .* cannot become"):
        x.sum(1, keepdim=True).add_(x)
