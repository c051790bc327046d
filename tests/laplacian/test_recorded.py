"""The forward Laplacian recorded for autograd: the same numbers, and in reverse the derivatives of all of them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import MOVES, POSITIONS, programs, run
from torch import nn

from qmcnet.laplacian import forward_laplacian, pair_differences, recorded_laplacian, signed_log_sum

DOUBLE = torch.float64
STEP = 1e-3
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}


SOURCES = [
    torch.sin,
    lambda x: torch.sin(pair_differences(x)),
    lambda x: torch.tanh(x) * torch.tanh(x).mean(1, keepdim=True),
]
"""Functions of one electron, of a pair, and of all, whose derivatives depend on the positions."""


def noise(shape, seed):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def numbers(found):
    """Make one number of values, gradients and Laplacians."""
    parts = (found.value, found.gradient, found.laplacian)
    return sum((part * noise(part.shape, seed)).sum() for seed, part in enumerate(parts))


def check(function, positions):
    """Compare with what the plain pass gives here, and a step along a random direction away."""
    leaf, direction = positions.clone().requires_grad_(), noise(positions.shape, 5)
    found, plain = recorded_laplacian(function, leaf), forward_laplacian(function, positions)
    for part in ("value", "gradient", "laplacian"):
        torch.testing.assert_close(getattr(found, part), getattr(plain, part), rtol=1e-10, atol=1e-10)
    slope = (torch.autograd.grad(numbers(found), leaf)[0] * direction).sum()
    # The error of the stencil grows with h^4, to sixteen times itself, and rounding is magnified by 1 / h.
    size = 1 + sum(getattr(plain, part).abs().sum() for part in ("value", "gradient", "laplacian"))
    fine, coarse = (difference(function, positions, direction, k * STEP) for k in (1, 2))
    assert (fine - slope).abs() <= (coarse - slope).abs() / 8 + 1e-14 / STEP * size


def difference(function, positions, direction, step):
    points = [(weight, positions + k * step * direction) for k, weight in STENCIL.items()]
    return sum(weight * numbers(forward_laplacian(function, point)) for weight, point in points) / step


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(programs())
def test_random_compositions(program):
    check(lambda x: run(program, x, pair_differences(x)), POSITIONS)


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_every_move(kind):
    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def each(data):
        for source in SOURCES:
            move = kind(data.draw, [torch.tanh(POSITIONS), source(POSITIONS)])
            check(lambda x, move=move, source=source: move([torch.tanh(x), source(x)]), POSITIONS)

    each()


def written(x):
    y = torch.tanh(x) + torch.tanh(x).mean(1, keepdim=True)
    z = torch.sin(y)
    y += z
    y *= 0.5
    y += y.mean(1, keepdim=True)
    return (y * z).sum((-2, -1))


def normalized(x):
    layer = nn.LayerNorm(3, dtype=DOUBLE).requires_grad_(False)
    layer.weight += noise((3,), 1)
    layer.bias += noise((3,), 2)
    return torch.tanh(layer(F.silu(x) + x.mean(1, keepdim=True))).sum((-2, -1))


@pytest.mark.parametrize("function", [written, normalized])
def test_what_was_needed_again_is_not_written_over(function):
    check(function, POSITIONS)


def test_complex_numbers():
    mix = torch.complex(noise((4, 3), 1), noise((4, 3), 2))

    def log_det(x):
        orbitals = torch.complex(x, torch.sin(x)) @ mix.mT
        return torch.linalg.slogdet(torch.exp(0.5 * orbitals) * orbitals)[1]

    def parts(backend):
        def both(positions):
            found = backend(log_det, positions)
            values = [torch.view_as_real(part) for part in (found.gradient, found.laplacian)]
            return sum((part * noise(part.shape, seed)).sum() for seed, part in enumerate(values))

        return both

    leaf, direction = POSITIONS.clone().requires_grad_(), noise(POSITIONS.shape, 5)
    slope = (torch.autograd.grad(parts(recorded_laplacian)(leaf), leaf)[0] * direction).sum()
    plain = parts(forward_laplacian)
    steps = [(weight, plain(POSITIONS + k * STEP * direction)) for k, weight in STENCIL.items()]
    torch.testing.assert_close(sum(weight * value for weight, value in steps) / STEP, slope, rtol=1e-6, atol=1e-6)


def test_nothing_is_recorded_unless_it_is_asked_for():
    layer = nn.Linear(3, 2, dtype=DOUBLE)
    function, leaf = (lambda x: torch.tanh(layer(x)).sum((-2, -1))), POSITIONS.clone().requires_grad_()
    assert not forward_laplacian(function, leaf).laplacian.requires_grad
    assert recorded_laplacian(function, leaf).laplacian.requires_grad
    assert recorded_laplacian(function, POSITIONS).laplacian.requires_grad  # by the parameters


def test_a_determinant_that_nearly_vanishes_among_others_does_not_magnify_rounding():
    mix, other = noise((3, 3), 1), noise((3, 3), 2)

    def log_psi(x):
        singular = torch.tanh(x) @ mix.to(x.dtype)
        rows = torch.cat([singular[:, :2], 2 * singular[:, :1] + 3e-4 * torch.sin(x[:, 2:3])], 1)
        matrices = torch.stack([rows, torch.exp(0.3 * x) @ other.to(x.dtype)], 1)
        return signed_log_sum(*torch.linalg.slogdet(matrices))[1]

    def slope(positions):
        leaf = positions.clone().requires_grad_()
        return torch.autograd.grad(recorded_laplacian(log_psi, leaf).laplacian.sum(), leaf)[0]

    positions = noise((20, 3, 3), 3).float()
    expected = slope(positions.double())
    error = (slope(positions) - expected).abs().amax((1, 2)) / (1 + expected.abs().amax((1, 2)))
    assert error.max() < 1e-2
