import pytest
import torch

from qmcnet.laplacian import track

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def project(function, positions):
    """Return random weights that turn a tensor-valued function into one number a walker, and that function."""
    shape = function(positions).shape[1:]
    weights = torch.randn(shape, dtype=positions.dtype, generator=torch.Generator().manual_seed(7))
    return weights, lambda x: (function(x) * weights).reshape(len(x), -1).sum(-1)


@pytest.fixture(scope="session")
def assert_tracked(second_derivatives):
    """Compare value, gradient and Laplacian of a tracked function with those of autograd."""

    def check(function, positions, start=track, **tolerance):
        tracked = function(start(positions)).dense()
        weights, scalar = project(function, positions)
        expected = second_derivatives(scalar, positions)
        tolerance = tolerance or TIGHT
        torch.testing.assert_close(tracked.value, function(positions), **tolerance)
        jacobian = (tracked.jacobian * weights).reshape(*tracked.jacobian.shape[:2], -1).sum(-1)
        gradient = jacobian.mT.reshape(positions.shape)
        torch.testing.assert_close(gradient, expected.gradient, **tolerance)
        laplacian = (tracked.laplacian * weights).reshape(len(positions), -1).sum(-1)
        torch.testing.assert_close(laplacian, expected.laplacian, **tolerance)

    return check


@pytest.fixture(scope="session")
def positions():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(3, 4, 3, dtype=torch.float64, generator=generator)
