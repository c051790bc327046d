"""Derivatives of determinants: in groups on a CPU, in one batch elsewhere, and as one operation where it is traced."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode

from qmcnet.compute.kernels import traceable
from qmcnet.laplacian import determinant, forward_laplacian, track
from qmcnet.laplacian.determinant import log_derivatives, traced_groups

CENTRES = torch.randn(4, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
DTYPES = [torch.float32, torch.float64, torch.complex128]


class Launches(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def matrices(count, directions, n, dtype):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(count, directions + 1, n, n, dtype=dtype, generator=generator)
    return rows, torch.randn(count, n, n, dtype=dtype, generator=generator)


def log_determinants(x):
    orbitals = torch.exp(-0.5 * (x[:, None, :, None] - CENTRES[:, None, : x.shape[1]]).square().sum(-1))  # (B, 4, N, N)
    return torch.linalg.slogdet(orbitals)[1].sum(-1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 5])
def test_one_operation_equals_the_contractions(count, dtype, monkeypatch):
    monkeypatch.setattr(determinant, "CACHED", 150)  # two matrices a group
    rows, inverse = matrices(count, 7, 3, dtype)
    product = rows @ inverse[:, None]
    traces = product.diagonal(dim1=-2, dim2=-1).sum(-1)
    squares = (product[:, :-1] @ product[:, :-1]).diagonal(dim1=-2, dim2=-1).sum((-2, -1))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    with torch.no_grad():
        for found in (traced_groups(rows, inverse), log_derivatives(rows, inverse)):
            torch.testing.assert_close(found, (traces, squares), **tolerance)
            assert not any(tensor.is_inference() for tensor in found)
    for shape_alone, tensor in zip(traced_groups(rows.to("meta"), inverse.to("meta")), (traces, squares), strict=True):
        assert (shape_alone.shape, shape_alone.dtype) == (tensor.shape, tensor.dtype)


def test_off_a_cpu_there_are_no_groups():
    counts = []
    for count in (8, 512):
        rows, inverse = (tensor.to("meta") for tensor in matrices(count, 42, 14, torch.float32))
        with Launches() as launches:
            log_derivatives(rows, inverse)
        counts.append(launches.count)
    assert counts[0] == counts[1] < 15


def test_the_compiler_sees_no_loop(monkeypatch):
    monkeypatch.setattr(determinant, "CACHED", 1)
    lengths = set()
    for count in (2, 20):
        positions = torch.randn(count, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), traceable():
            graph = make_fx(lambda x: log_determinants(track(x)).rows)(positions)
        lengths.add(len(graph.graph.nodes))
        assert sum(node.target is torch.ops.qmcnet.log_derivatives.default for node in graph.graph.nodes) == 1
        torch.testing.assert_close(graph(positions)[-1], log_determinants(positions), rtol=1e-10, atol=1e-10)
    assert len(lengths) == 1


@pytest.mark.parametrize("cached", [1, 2**17])
def test_derivatives_do_not_depend_on_the_groups(cached, monkeypatch, positions):
    expected = forward_laplacian(log_determinants, positions)
    monkeypatch.setattr(determinant, "CACHED", cached)
    found = forward_laplacian(log_determinants, positions)
    torch.testing.assert_close(found.laplacian, expected.laplacian, rtol=1e-12, atol=1e-12)
