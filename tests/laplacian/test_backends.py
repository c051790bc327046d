import itertools

import pytest
import torch

from qmcnet.compute.device import SIZES
from qmcnet.compute.memory import peak_bytes
from qmcnet.laplacian import (
    ForwardLaplacian,
    TorchFuncLaplacian,
    automatic_chunk_size,
    backends,
    forward_laplacian,
    pair_differences,
    torch_func_laplacian,
)
from qmcnet.protocols import Derivatives

DOUBLE = torch.float64
NUCLEUS = torch.tensor([0.3, -0.2, 0.5], dtype=DOUBLE)

each_backend = pytest.mark.parametrize(
    "backend",
    [forward_laplacian, torch_func_laplacian, ForwardLaplacian(), TorchFuncLaplacian()],
    ids=["forward", "torch_func", "ForwardLaplacian", "TorchFuncLaplacian"],
)


def assert_same(result, expected, **tolerance):
    torch.testing.assert_close(result.value, expected.value, **tolerance)
    torch.testing.assert_close(result.gradient, expected.gradient, **tolerance)
    torch.testing.assert_close(result.laplacian, expected.laplacian, **tolerance)


def finite_differences(function, positions, step=2e-3):
    """Differentiate by central differences of fourth order."""
    moves = step * torch.eye(positions[0].numel(), dtype=DOUBLE).unflatten(1, positions.shape[1:])  # (3N, N, 3)

    def moved(multiple):
        points = positions[:, None] + multiple * moves
        return function(points.flatten(0, 1)).unflatten(0, points.shape[:2])  # (B, 3N)

    value = function(positions)
    near, far = (moved(1), moved(-1)), (moved(2), moved(-2))
    gradient = (8 * (near[0] - near[1]) - (far[0] - far[1])) / (12 * step)
    second = (16 * (near[0] + near[1]) - (far[0] + far[1]) - 30 * value[:, None]) / (12 * step**2)
    return Derivatives(value, gradient.reshape(positions.shape), second.sum(-1))


def gaussian(a):
    def closed(x):
        value = torch.exp(-a * x.square().sum((1, 2)))
        lap = value * (4 * a**2 * x.square().sum((1, 2)) - 2 * a * 3 * x.shape[1])
        return Derivatives(value, -2 * a * x * value[:, None, None], lap)

    return lambda x: torch.exp(-a * x.square().sum((1, 2))), closed


def harmonic():
    def closed(x):
        return Derivatives(x.square().sum((1, 2)), 2 * x, torch.full((len(x),), 6.0 * x.shape[1], dtype=DOUBLE))

    return lambda x: x.square().sum((1, 2)), closed


def hydrogenic(charge):
    def function(x):
        return torch.exp(-charge * torch.linalg.vector_norm(x - NUCLEUS, dim=-1)).sum(1)

    def closed(x):
        distance = (x - NUCLEUS).norm(dim=-1)
        orbital = torch.exp(-charge * distance)
        gradient = -charge * (orbital / distance)[..., None] * (x - NUCLEUS)
        return Derivatives(orbital.sum(1), gradient, (orbital * (charge**2 - 2 * charge / distance)).sum(1))

    return function, closed


def hydrogenic_product(charge):
    def function(x):
        return -charge * torch.linalg.vector_norm(x - NUCLEUS, dim=-1).sum(1)

    def closed(x):
        distance = (x - NUCLEUS).norm(dim=-1, keepdim=True)
        gradient = -charge * (x - NUCLEUS) / distance
        return Derivatives(-charge * distance.sum((1, 2)), gradient, (-2 * charge / distance).sum((1, 2)))

    return function, closed


def over_pairs(of_distances, derivatives):
    """Sum f(r_ij) over i < j: lap = sum 2 (f'' + 2 f' / r)."""

    def function(x):
        same = torch.eye(x.shape[1], dtype=DOUBLE)
        distances = torch.linalg.vector_norm(pair_differences(x) + same[..., None], dim=-1)
        return 0.5 * (of_distances(distances) * (1 - same)).sum((1, 2))

    def closed(x):
        value, laplacian, gradient = (
            torch.zeros(len(x), dtype=DOUBLE),
            torch.zeros(len(x), dtype=DOUBLE),
            torch.zeros_like(x),
        )
        for i, j in itertools.combinations(range(x.shape[1]), 2):
            distance = (x[:, i] - x[:, j]).norm(dim=-1)
            f, first, second = derivatives(distance)
            pull = (first / distance)[:, None] * (x[:, i] - x[:, j])
            gradient[:, i] += pull
            gradient[:, j] -= pull
            value, laplacian = value + f, laplacian + 2 * (second + 2 * first / distance)
        return Derivatives(value, gradient, laplacian)

    return function, closed


CASES = {
    "harmonic": harmonic(),
    "gaussian": gaussian(0.4),
    "hydrogenic": hydrogenic(1.3),
    "product of hydrogenic": hydrogenic_product(2.1),
    "distances": over_pairs(lambda r: r, lambda r: (r, torch.ones_like(r), torch.zeros_like(r))),
    "Coulomb": over_pairs(lambda r: 1 / r, lambda r: (1 / r, -1 / r**2, 2 / r**3)),
    "pair exponentials": over_pairs(
        lambda r: torch.exp(-0.7 * r),
        lambda r: (torch.exp(-0.7 * r), -0.7 * torch.exp(-0.7 * r), 0.49 * torch.exp(-0.7 * r)),
    ),
}


@each_backend
@pytest.mark.parametrize(("function", "closed"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("n_electrons", [1, 2, 4])
def test_closed_forms(backend, function, closed, n_electrons, positions):
    points = positions[:, :n_electrons]
    assert_same(backend(function, points), closed(points), rtol=1e-11, atol=1e-11)


def log_determinant(x):
    """Return log|det| of Gaussian orbitals in a mean field of the other electrons."""
    centres = torch.randn(x.shape[1], 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    orbitals = torch.exp(-0.5 * (x[:, :, None] - centres).square().sum(-1))
    mean_field = 1 + 0.3 * torch.tanh(x).mean(1, keepdim=True).sum(-1, keepdim=True)
    return torch.linalg.slogdet(orbitals * mean_field + orbitals.square())[1]


@pytest.mark.parametrize("n_electrons", [1, 2, 3, 4])
@each_backend
def test_determinants_equal_finite_differences_for_every_walker(backend, n_electrons):
    generator = torch.Generator().manual_seed(11)
    points = torch.randn(6, n_electrons, 3, dtype=DOUBLE, generator=generator)
    result, expected = backend(log_determinant, points), finite_differences(log_determinant, points)
    for walker in range(len(points)):
        assert result.value[walker] == pytest.approx(expected.value[walker].item(), rel=1e-12)
        torch.testing.assert_close(result.gradient[walker], expected.gradient[walker], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(result.laplacian[walker], expected.laplacian[walker], rtol=1e-5, atol=1e-5)


def test_finite_differences_converge_to_closed_forms(positions):
    function, closed = gaussian(0.4)
    assert_same(finite_differences(function, positions), closed(positions), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("kind", [ForwardLaplacian, TorchFuncLaplacian])
@pytest.mark.parametrize("size", [1, 2, 5, 7, 100])
def test_chunks_equal_the_whole(kind, size):
    points = torch.randn(7, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(4))
    whole = kind(chunk_size=7)(log_determinant, points)
    assert_same(kind(chunk_size=size)(log_determinant, points), whole, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", [ForwardLaplacian, TorchFuncLaplacian])
def test_the_function_sees_chunks_of_equal_sizes(kind):
    seen = []

    def function(x):
        seen.append(x.shape[0])
        return x.square().sum((1, 2))

    backend, points = kind(chunk_size=3), torch.ones(10, 2, 3, dtype=DOUBLE)
    backend(function, points)  # at the first call it is compared with torch, besides
    seen.clear()
    backend(function, points)
    assert max(seen) == 3
    assert min(seen) == 2


@pytest.mark.parametrize("kind", [ForwardLaplacian, TorchFuncLaplacian])
@pytest.mark.parametrize("size", [0, -4])
def test_impossible_chunk_sizes_are_refused(kind, size):
    with pytest.raises(ValueError, match=f"chunk_size={size} must be at least 1"):
        kind(chunk_size=size)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("n_electrons", [2, 8, 30])
def test_the_automatic_chunk_fits_its_budget(dtype, n_electrons):
    points = torch.randn(200, n_electrons, 3, dtype=dtype, generator=torch.Generator().manual_seed(0))
    size = automatic_chunk_size(log_determinant, points)
    assert (
        size == automatic_chunk_size(log_determinant, points[:9]) == automatic_chunk_size(log_determinant, points[:1])
    )

    many = points[:1].repeat(size, 1, 1)
    # Another operation may hold the peak of a large chunk than of the small ones that the choice looked at.
    assert 0.7 < peak_bytes(lambda r: forward_laplacian(log_determinant, r), many) / SIZES["cpu"].differentiated < 1.4


def test_a_chunk_size_is_chosen_once_a_function_and_kept(monkeypatch):
    chosen = []

    def choose(function, positions):
        chosen.append(function)
        return 4

    monkeypatch.setattr(backends, "automatic_chunk_size", choose)
    backend, points = ForwardLaplacian(), torch.ones(20, 2, 3, dtype=DOUBLE)
    for _ in range(3):
        backend(log_determinant, points)
    backend(log_determinant, points[:2])
    assert chosen == [log_determinant]
    assert backend.size_of_chunk(log_determinant, points) == 4


def test_a_lack_of_memory_halves_the_chunk_for_good(monkeypatch, caplog):
    seen, whole = [], backends.forward_laplacian

    def small_memory(function, positions):
        seen.append(len(positions))
        if len(positions) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(function, positions)

    points = torch.randn(20, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    expected = ForwardLaplacian(chunk_size=20)(log_determinant, points)
    monkeypatch.setattr(backends, "forward_laplacian", small_memory)
    backend = ForwardLaplacian(chunk_size=1000)
    assert_same(backend(log_determinant, points), expected, rtol=1e-13, atol=1e-13)
    assert seen == [20, 10, 5, 5, 5, 5]
    assert caplog.text.count("out of memory") == 2
    seen.clear()
    backend(log_determinant, points)
    assert seen == [5, 5, 5, 5]


@each_backend
def test_results_carry_no_graph(backend, positions):
    weight = torch.tensor(0.4, dtype=DOUBLE, requires_grad=True)
    result = backend(lambda x: torch.exp(-x.square().sum((1, 2)) * weight), positions)
    assert not any(part.requires_grad for part in (result.value, result.gradient, result.laplacian))


@each_backend
def test_back_ends_work_without_grad(backend, positions):
    function, closed = gaussian(0.4)
    with torch.no_grad():
        assert_same(backend(function, positions), closed(positions), rtol=1e-11, atol=1e-11)


@each_backend
def test_single_precision_stays_single(backend, positions):
    result = backend(lambda x: x.square().sum((1, 2)), positions.float())
    assert {result.value.dtype, result.gradient.dtype, result.laplacian.dtype} == {torch.float32}
    assert result.laplacian.tolist() == pytest.approx([24] * 3)


@each_backend
def test_a_walker_at_a_singularity_spoils_no_other(backend, positions):
    function, closed = hydrogenic_product(1.0)
    points = positions.clone()
    points[1, 0] = NUCLEUS
    result, expected = backend(function, points), closed(points)
    others = [0, 2]
    torch.testing.assert_close(result.gradient[others], expected.gradient[others])
    torch.testing.assert_close(result.laplacian[others], expected.laplacian[others])
