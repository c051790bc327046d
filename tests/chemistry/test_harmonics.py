import math

import numpy as np
import pytest
import torch

from qmcnet.chemistry.harmonics import derivative_matrices, orders, solid_harmonics

VECTORS = torch.randn(3, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_orders_count_up_with_p_functions_as_x_y_z():
    assert orders(2) == [(0, 0), (1, 1), (1, -1), (1, 0), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]
    p_functions = solid_harmonics(VECTORS, 1)[1:]
    torch.testing.assert_close(p_functions, VECTORS * math.sqrt(3 / (4 * math.pi)))


@pytest.mark.parametrize("degree", range(5))
def test_harmonics_are_orthonormal_on_the_sphere(degree):
    polar, weights = map(torch.tensor, np.polynomial.legendre.leggauss(8))
    azimuth = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16) + 0.3
    sine = (1 - polar.square()).sqrt()[:, None]
    points = torch.stack([sine * azimuth.cos(), sine * azimuth.sin(), polar[:, None].expand(8, 16)])
    harmonics = solid_harmonics(points.flatten(1)[:, None], degree)[:, 0]
    overlap = harmonics * weights.repeat_interleave(16) * (2 * math.pi / 16) @ harmonics.T
    torch.testing.assert_close(overlap, torch.eye((degree + 1) ** 2, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("degree", range(1, 5))
def test_derivatives_are_combinations_of_lower_harmonics(degree):
    vectors = VECTORS.clone().requires_grad_()
    harmonics = solid_harmonics(vectors, degree)
    expected = torch.stack([torch.autograd.grad(row.sum(), vectors, retain_graph=True)[0] for row in harmonics], 1)
    derivatives = torch.einsum("xhk,kam->xham", derivative_matrices(degree), harmonics)
    torch.testing.assert_close(derivatives, expected, rtol=1e-12, atol=1e-12)


def test_the_laplacian_of_a_harmonic_is_zero():
    matrices = derivative_matrices(4)
    assert sum(matrix @ matrix for matrix in matrices).abs().max() < 1e-12
    assert matrices.abs().max() > 1
