"""Random compositions of the supported operations: sparse tracking, dense tracking and the reference agree."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import MOVES, POSITIONS, programs, run
from torch.nn.attention import SDPBackend, sdpa_kernel

from qmcnet.laplacian import LapTuple, pair_differences, track


@pytest.fixture(autouse=True)
def plain_attention():
    """Let torch differentiate its own attention: the fused kernels have no forward-mode derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(programs())
def test_random_compositions(assert_tracked, program):
    def function(x):
        return run(program, x, pair_differences(x))

    def dense(x):
        tracked = track(x)
        return run(program, tracked.dense(), pair_differences(tracked).dense())

    assert_tracked(function, POSITIONS, rtol=1e-8, atol=1e-8)
    sparse, wide = function(track(POSITIONS)).dense(), dense(POSITIONS)
    for part in ("value", "jacobian", "laplacian"):
        torch.testing.assert_close(getattr(sparse, part), getattr(wide, part), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", MOVES, ids=lambda kind: kind.__name__)
def test_every_move_keeps_sparse_equal_to_dense(kind):
    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(st.data())
    def each(data):
        for source in (lambda x: x, pair_differences, lambda x: torch.tanh(x) * torch.tanh(x).mean(1, keepdim=True)):
            start = [torch.tanh(POSITIONS), source(POSITIONS)]
            move = kind(data.draw, start)
            sparse = move([torch.tanh(track(POSITIONS)), source(track(POSITIONS))])
            dense = move([torch.tanh(track(POSITIONS)).dense(), source(track(POSITIONS)).dense()])
            assert isinstance(sparse, LapTuple)
            torch.testing.assert_close(sparse.dense().jacobian, dense.jacobian, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(sparse.dense().laplacian, dense.laplacian, rtol=1e-12, atol=1e-12)

    each()
