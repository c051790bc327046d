"""Statements that write in place: the forward Laplacian agrees with torch, or refuses by name, and never is silent."""

import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qmcnet.laplacian import LapTuple, forward_laplacian, pair_differences, track

DOUBLE = torch.float64
POSITIONS = torch.randn(2, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))
WEIGHT = torch.randn(3, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
STEP = 2e-3
STENCIL = {-2: -1 / 12, -1: 4 / 3, 0: -5 / 2, 1: 4 / 3, 2: -1 / 12}


def layer(x, k=0):
    """Return features of electrons, (B, N, 4), in memory of their own."""
    return torch.sin(F.linear(x, WEIGHT[k]))


def dense(x):
    """Return features that depend on all electrons, (B, N, 4)."""
    return layer(x) + layer(x, 1).mean(1, keepdim=True)


def plain_derivatives(function):
    """Return the gradient by autograd, if it can, and the Laplacian by finite differences of fourth order."""
    leaf = POSITIONS.clone().requires_grad_()
    try:
        gradient = torch.autograd.grad(function(leaf.clone()).sum(), leaf)[0]
    except RuntimeError:
        gradient = None
    return gradient, *(finite_differences(function, step) for step in (STEP, 2 * STEP))


def finite_differences(function, step):
    directions = torch.eye(9, dtype=DOUBLE).view(9, 1, 3, 3)
    points = torch.stack([POSITIONS + k * step * directions for k in STENCIL])
    values = function(points.flatten(0, 2)).view(len(STENCIL), 9, 2)
    return torch.einsum("k,kdb->b", torch.tensor([*STENCIL.values()], dtype=DOUBLE), values) / step**2


def agrees_or_refuses(function):
    """Compare with torch; return the message of a refusal."""
    try:
        result = forward_laplacian(function, POSITIONS)
    except (NotImplementedError, ValueError) as error:
        return str(error)
    torch.testing.assert_close(result.value, function(POSITIONS.clone()), rtol=1e-12, atol=1e-12)
    gradient, laplacian, coarse = plain_derivatives(function)
    if gradient is not None:
        torch.testing.assert_close(result.gradient, gradient, rtol=1e-10, atol=1e-10)
    # The error of the stencil grows with h^4, to sixteen times itself; 45 values f round, to some 1e-16 f / h^2 each.
    error = (coarse - laplacian).abs() / 8 + 1e-13 / STEP**2 * (1 + result.value.abs())
    assert ((result.laplacian - laplacian).abs() < error).all()
    return None


def halved(x):
    x *= 0.5


def shifted(x):
    x += 1.5


def lowered(x):
    x -= torch.arange(x.shape[-1], dtype=DOUBLE)


def divided(x):
    x /= 3


def raised(x):
    x **= 2


def assigned(x):
    x[..., 0] = 2 * x[..., -1]


def by_out(x):
    torch.mul(x, 2, out=x)


WRITES = {
    "*=": halved,
    "+=": shifted,
    "-=": lowered,
    "/=": divided,
    "**=": raised,
    "*= itself": lambda x: x.mul_(torch.tanh(x)),
    "+= all": lambda x: x.add_(x.mean(1, keepdim=True), alpha=0.5),
    "-= all": lambda x: x.sub_(torch.sin(x).mean(1, keepdim=True)),
    "div_": lambda x: x.div_(x.square() + 1),
    "pow_": lambda x: x.pow_(3),
    "tanh_": lambda x: x.tanh_(),
    "exp_": lambda x: x.exp_(),
    "square_": lambda x: x.square_(),
    "neg_": lambda x: x.neg_(),
    "masked_fill_": lambda x: x.masked_fill_(torch.arange(x.shape[-1]) % 2 == 0, 0.5),
    "elu": lambda x: F.elu(x, inplace=True),
    "silu": nn.SiLU(inplace=True),
    "leaky_relu": nn.LeakyReLU(0.2, inplace=True),
    "fill_": lambda x: x.fill_(0.3),
    "copy_": lambda x: x.copy_(2 * x),
    "zero_": lambda x: x.zero_(),
    "clamp_": lambda x: x.clamp_(-5, 5),
    "[...] =": assigned,
    "index_put_": lambda x: x.index_put_((torch.tensor([0]),), torch.ones((), dtype=DOUBLE)),
    "out=": by_out,
}
TAKEN = {
    "slice": lambda x: x[..., :2],
    "electrons": lambda x: x[:, 1:],
    "entry": lambda x: x[:, :, 1],
    "electron": lambda x: x[:, 0],
    "view of a view": lambda x: x[..., 1:][..., :1],
    "transpose": lambda x: x.transpose(1, 2),
    "permute": lambda x: x.permute(0, 2, 1),
    "movedim": lambda x: x.movedim(1, 2),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "view": lambda x: x.view(x.shape[0], -1),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(-1, (2, -1)),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x[..., :1].squeeze(-1),
    "unbind": lambda x: x.unbind(-1)[1],
    "split": lambda x: x.split(2, -1)[0],
    "chunk": lambda x: x.chunk(2, -1)[1],
    "contiguous": lambda x: x.contiguous(),
    "einsum": lambda x: torch.einsum("bif->bfi", x),
    "diagonal": lambda x: x.diagonal(dim1=1, dim2=2),
    "detach": lambda x: x.detach(),
}
COPIES = {
    "clone": lambda x: x.clone(),
    "product": lambda x: 1 * x,
    "index": lambda x: x.index_select(2, torch.arange(2)),
}
SUPPORTED = list(WRITES)[:18]


@pytest.mark.parametrize("source", [layer, dense])
@pytest.mark.parametrize("name", WRITES)
def test_writing_into_an_own_tensor(name, source):
    def function(x):
        h = source(x)
        same = h
        WRITES[name](h)
        return (h * same).sum((1, 2))

    message = agrees_or_refuses(function)
    assert (message is None) == (name in SUPPORTED)
    if message:
        assert re.search(r"torch\.(Tensor\.)?\w+", message)


def of_view(x, take, write, source):
    h = source(x)
    part = take(h)
    WRITES[write](part)
    return h.square().sum((1, 2))


def of_base(x, take, write, source):
    h = source(x)
    part = take(h)
    WRITES[write](h)
    return part.square().flatten(1).sum(1)


@pytest.mark.parametrize("function", [of_view, of_base])
@pytest.mark.parametrize("source", [layer, dense])
@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN)
def test_writing_into_a_view_or_past_one_is_refused(take, source, function):
    for write in ("*=", "+=", "-=", "/=", "**=", "tanh_", "elu"):
        message = agrees_or_refuses(lambda x, write=write: function(x, take, write, source))
        assert message, write
        assert re.search(r"shares its numbers with a view|no rule for torch function 'torch\.Tensor\.", message)


@pytest.mark.parametrize("function", [of_view, of_base])
@pytest.mark.parametrize("take", COPIES.values(), ids=COPIES)
def test_writing_into_a_copy_is_not(take, function):
    for write in SUPPORTED:
        assert agrees_or_refuses(lambda x, write=write: function(x, take, write, layer)) is None, write


@pytest.mark.parametrize("take", list(TAKEN.values())[:-2], ids=list(TAKEN)[:-2])
def test_a_view_of_what_is_gone_may_be_written_into(take):
    def function(x):
        h = take(layer(x))
        h *= 2
        h += h.mean(-1, keepdim=True)
        return h.square().flatten(1).sum(1)

    assert agrees_or_refuses(function) is None


def test_a_tensor_expanded_to_its_own_shape_is_itself():
    def function(x):
        h = layer(x)
        same = h.expand(-1, 3, -1)
        same *= 2
        h += 1
        return (h * same).sum((1, 2))

    assert agrees_or_refuses(function) is None


@pytest.mark.parametrize("write", ["iadd", "isub", "imul", "itruediv"])
def test_a_plain_tensor_does_not_become_a_tracked_one(write):
    x = layer(track(POSITIONS))
    target = torch.zeros(x.shape, dtype=DOUBLE)
    with pytest.raises(NotImplementedError, match=r"writes a tracked tensor into one that is not"):
        getattr(target, f"__{write}__")(x)
    with pytest.raises(NotImplementedError, match=r"torch\.where, torch\.cat or torch\.stack"):
        target[..., 0] = x[..., 0]
    with pytest.raises(NotImplementedError, match=r"out="):
        torch.sin(x, out=target)


def test_types_are_kept_as_torch_keeps_them():
    x = layer(track(POSITIONS.float()).map_linear(lambda rows: rows.double())).map_linear(lambda rows: rows.float())
    x *= torch.ones(4, dtype=DOUBLE)
    assert x.dtype == torch.float32
    with pytest.raises(RuntimeError, match="complex"):
        x *= 1j


@pytest.mark.parametrize("change", [torch.tanh, lambda x: 2 * x, halved, lambda x: x[:, 1:], LapTuple.dense])
def test_differences_of_what_is_no_longer_the_positions(change):
    def function(x):
        y = x.clone() if isinstance(x, torch.Tensor) else track(x.value)
        if change is not LapTuple.dense or isinstance(y, LapTuple):
            changed = change(y)
            y = y if changed is None else changed
        return torch.sin(pair_differences(y)).square().sum((1, 2, 3))

    assert agrees_or_refuses(function) is None


def test_truth_and_comparisons_are_refused_by_name():
    x = track(POSITIONS)
    for attempt in (lambda: x == 0, lambda: x != 0, lambda: x > 0, lambda: x <= 0, lambda: bool(x)):
        with pytest.raises(NotImplementedError, match=r"no rule for torch function .*(eq|ne|gt|le|bool)"):
            attempt()


@st.composite
def programs(draw):
    """Draw statements on registers: compute a new tensor, take a view, or write."""
    lines = []
    for _ in range(draw(st.integers(2, 6))):
        kind = draw(st.sampled_from(["new", "take", "write", "write", "mix"]))
        table = {"take": {**TAKEN, **COPIES}, "write": WRITES}.get(kind, {"": None})
        lines.append((kind, draw(st.sampled_from(list(table))), draw(st.integers(0, 9)), draw(st.integers(0, 9))))
    return lines


def run(lines, x):
    registers = [layer(x), dense(x)]
    for kind, name, i, j in lines:
        a, b = registers[i % len(registers)], registers[j % len(registers)]
        if kind == "new":
            registers.append(torch.sin(a))
        elif kind == "take" and a.ndim == 3 and a.shape[-1] == 4:
            registers.append({**TAKEN, **COPIES}[name](a))
        elif kind == "write":
            WRITES[name](a)
        elif kind == "mix" and a.shape == b.shape:
            a *= b
    return sum(torch.sin(part).flatten(1).sum(1) for part in registers)


def test_random_programs_agree_with_torch_or_refuse():
    agreed = []

    @settings(max_examples=120, deadline=None, derandomize=True, database=None)
    @given(programs())
    def each(lines):
        try:
            run(lines, POSITIONS.clone())
        except RuntimeError:
            return  # torch refuses, such as to write into memory that overlaps
        agreed.append(agrees_or_refuses(lambda x: run(lines, x)) is None)

    each()
    assert 20 < sum(agreed) < len(agreed) - 20
