"""Random compositions of the operations that the forward Laplacian supports."""

import torch
import torch.nn.functional as F
from hypothesis import strategies as st

from qmcnet.laplacian import pair_differences

DOUBLE = torch.float64
POSITIONS = torch.randn(2, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(9))
UNARY = [
    torch.tanh,
    lambda x: torch.exp(torch.tanh(x)),
    lambda x: torch.log(x.square() + 1),
    lambda x: torch.sqrt(x.square() + 1),
    lambda x: 1 / (x.square() + 1),
    torch.square,
    torch.sigmoid,
    F.silu,
    F.softplus,
    F.gelu,
    F.elu,
    torch.sin,
    torch.erf,
    lambda x: torch.rsqrt(x.square() + 1),
    lambda x: torch.tanh(x) ** 3,
    lambda x: 0.7 - 2 * x / 3,
]
BINARY = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / (y * y + 1),
]


def constant(*shape):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(sum(shape)))


def axis_of(draw, x):
    return draw(st.integers(1, x.ndim - 1))


def pointwise(draw, stack):
    function = draw(st.sampled_from(UNARY))
    return lambda stack: function(stack[-1])


def linear(draw, stack):
    weight = constant(draw(st.integers(1, 3)), stack[-1].shape[-1])
    return lambda stack: F.linear(stack[-1], weight)


def reduction(draw, stack):
    name, keepdim = draw(st.sampled_from(["sum", "mean"])), draw(st.booleans())
    axes = draw(st.lists(st.integers(1, stack[-1].ndim - 1), min_size=1, max_size=2, unique=True))
    return lambda stack: getattr(stack[-1], name)(axes, keepdim=keepdim)


def indexing(draw, stack):
    items = [slice(None)]
    for length in stack[-1].shape[1:]:
        start = draw(st.integers(0, length - 1))
        stop = draw(st.integers(start + 1, length))
        items += draw(
            st.sampled_from([[slice(None)], [slice(start, stop)], [start], [slice(None, None, 2)], [None, slice(None)]])
        )
    return lambda stack: stack[-1][tuple(items)]


def spin(draw, stack):
    axis = draw(st.integers(1, min(2, stack[-1].ndim - 1)))
    half = max(stack[-1].shape[axis] // 2, 1)
    item = (slice(None),) * axis + (draw(st.sampled_from([slice(0, half), slice(-half, None)])),)
    return lambda stack: stack[-1][item]


def concatenation(draw, stack):
    axis, k = axis_of(draw, stack[-1]), draw(st.integers(1, len(stack)))
    here, there = stack[-1], stack[-k]
    same = [a == b for a, b in zip(here.shape, there.shape, strict=False)]
    if here.ndim != there.ndim or not all(same[:axis] + same[axis + 1 :]):
        k = 1
    extra = constant(*stack[-1].shape)
    return lambda stack: torch.cat([stack[-1], extra, stack[-k]], axis)


def reshaping(draw, stack):
    a, b = axis_of(draw, stack[-1]), axis_of(draw, stack[-1])
    divisor = 2 - stack[-1].shape[a] % 2
    moves = [
        lambda stack: torch.flatten(stack[-1], min(a, b), max(a, b)),
        lambda stack: torch.movedim(stack[-1], a, b),
        lambda stack: torch.unsqueeze(stack[-1], a),
        lambda stack: torch.squeeze(stack[-1], a),
        lambda stack: torch.unflatten(stack[-1], a, (-1, divisor)),
    ]
    return draw(st.sampled_from(moves))


def fits(x, y):
    return x.ndim == y.ndim and all(a == b or 1 in (a, b) for a, b in zip(x.shape, y.shape, strict=True))


def combination(draw, stack):
    function = draw(st.sampled_from(BINARY))
    partners = [k for k in range(1, len(stack) + 1) if fits(stack[-1], stack[-k])]
    k, swap = draw(st.sampled_from(partners)), draw(st.booleans())
    return lambda stack: function(stack[-k], stack[-1]) if swap else function(stack[-1], stack[-k])


def combination_of_spins(draw, stack):
    function, axis = draw(st.sampled_from(BINARY)), draw(st.integers(1, min(2, stack[-1].ndim - 1)))
    half = max(stack[-1].shape[axis] // 2, 1)
    up, down = ((slice(None),) * axis + (part,) for part in (slice(0, half), slice(-half, None)))
    return lambda stack: function(stack[-1][up], stack[-1][down])


def combination_with_constant(draw, stack):
    function, swap = draw(st.sampled_from(BINARY)), draw(st.booleans())
    other = constant(*stack[-1].shape[axis_of(draw, stack[-1]) :])
    return lambda stack: function(other, stack[-1]) if swap else function(stack[-1], other)


def norm(draw, stack):
    dim, keepdim = axis_of(draw, stack[-1]) - stack[-1].ndim, draw(st.booleans())
    return lambda stack: torch.linalg.vector_norm(torch.tanh(stack[-1]) + 2, dim=dim, keepdim=keepdim)


def log_determinant(draw, stack):
    if stack[-1].ndim < 3:
        return pointwise(draw, stack)
    size = min(stack[-1].shape[-2:])
    # Dominant diagonals keep the matrices well conditioned.
    diagonal = 2 * size * torch.eye(size, dtype=DOUBLE)
    return lambda stack: torch.linalg.slogdet(torch.tanh(stack[-1][..., :size, :size]) + diagonal)[1]


def product(draw, stack):
    k = draw(st.integers(1, len(stack)))
    here, there = stack[-1].shape, stack[-k].shape
    first, second = "bijkl"[: len(here)], "b"
    for length, new in zip(there[1:], "wxyz", strict=False):
        same = [letter for letter, size in zip(first[1:], here[1:], strict=True) if size == length]
        second += draw(st.sampled_from([letter for letter in [*same, new] if letter not in second]))
    letters = draw(st.permutations(sorted({*first[1:], *second[1:]})))
    out = "b" + "".join(letters[: draw(st.integers(1, 3))])
    return lambda stack: torch.einsum(f"{first},{second}->{out}", torch.tanh(stack[-1]), stack[-k])


def matrices(draw, stack):
    if stack[-1].ndim < 3:
        return pointwise(draw, stack)
    right, left = constant(stack[-1].shape[-1], 2), constant(2, stack[-1].shape[-2])
    moves = [
        lambda stack: stack[-1] @ stack[-1].transpose(-2, -1),
        lambda stack: torch.tanh(stack[-1]).transpose(-2, -1) @ stack[-1],
        lambda stack: stack[-1] @ right,
        lambda stack: left @ stack[-1],
        lambda stack: F.scaled_dot_product_attention(stack[-1], torch.tanh(stack[-1]), torch.sin(stack[-1])),
    ]
    return draw(st.sampled_from(moves))


def softmax(draw, stack):
    axis, function = axis_of(draw, stack[-1]), draw(st.sampled_from([torch.softmax, torch.log_softmax]))
    if draw(st.booleans()):
        return lambda stack: torch.logsumexp(stack[-1], axis, keepdim=True)
    return lambda stack: function(stack[-1], axis)


def normalization(draw, stack):
    last = stack[-1].shape[axis_of(draw, stack[-1]) :]
    weight = constant(*last) if draw(st.booleans()) else None
    return lambda stack: F.layer_norm(stack[-1], last, weight, eps=0.1)


def rearrangement(draw, stack):
    shape, ndim = stack[-1].shape, stack[-1].ndim
    a, b = axis_of(draw, stack[-1]), axis_of(draw, stack[-1])
    order = draw(st.permutations(range(1, ndim)))
    mask = constant(*shape[a:]) > 0
    moves = [
        lambda stack: stack[-1].transpose(a, b),
        lambda stack: stack[-1].permute(0, *order),
        lambda stack: stack[-1].reshape(*shape[:a], -1),
        lambda stack: torch.stack([stack[-1], torch.tanh(stack[-1])], a),
        lambda stack: stack[-1].chunk(2, a)[-1],
        lambda stack: stack[-1].unbind(a)[0],
        lambda stack: torch.where(mask, stack[-1], torch.exp(torch.tanh(stack[-1]))),
        lambda stack: stack[-1].masked_fill(mask, 0.5),
        lambda stack: stack[-1].unsqueeze(a).expand(*shape[:a], 2, *shape[a:]),
    ]
    return draw(st.sampled_from(moves))


def earlier(draw, stack):
    k = draw(st.integers(1, len(stack)))
    return lambda stack: stack[-k]


MOVES = [
    pointwise,
    linear,
    reduction,
    indexing,
    spin,
    concatenation,
    reshaping,
    combination,
    combination_of_spins,
    combination_with_constant,
    norm,
    log_determinant,
    product,
    matrices,
    softmax,
    normalization,
    rearrangement,
    earlier,
]


def run(program, *stack):
    stack = list(stack)
    for move in program:
        stack.append(move(stack))
    return stack[-1]


@st.composite
def programs(draw):
    program, stack = [], [POSITIONS, pair_differences(POSITIONS)]
    for kind in draw(st.lists(st.sampled_from(MOVES), min_size=3, max_size=9)):
        move = kind(draw, stack)
        result = move(stack)
        # Skip what would leave nothing to act on, or numbers that the comparison could not resolve.
        if 1 < result.ndim < 6 and 0 < result.numel() < 1000 and result.abs().max() < 100:
            program.append(move)
            stack.append(result)
    return program
