import math

import pytest
import torch

from qmcnet.diffusion.scattering import limited, scattering
from qmcnet.sampling.proposals import Draws

DOUBLE = torch.float64
NUCLEI = torch.tensor([[0.3, -0.1, 0.2], [0.3, -0.1, 2.2]], dtype=DOUBLE)
CHARGES = torch.tensor([3.0, 1.0], dtype=DOUBLE)


def from_first_nucleus(distance, drift, timestep, count=1):
    """From a place on the x axis through the first nucleus."""
    place = (NUCLEI[0] + torch.tensor([distance, 0, 0], dtype=DOUBLE)).expand(count, 1, 3)
    return scattering(place, torch.tensor(drift, dtype=DOUBLE).expand(count, 1, 3), timestep, NUCLEI, CHARGES)


@pytest.mark.parametrize("distance", [0.0, 0.02, 0.15, 0.6])
@pytest.mark.parametrize("drift", [(-2.9, 0.3, 0.1), (1.0, -8.0, 2.0)])
def test_places_follow_the_density(distance, drift):
    """The mean of g / G over draws from G is the integral of g, which is one, wherever g may be."""
    count, timestep = 100_000, 0.04
    there = from_first_nucleus(distance, drift, timestep, count)
    places = there.draw(Draws(torch.Generator().manual_seed(1), count))
    width = 0.15  # narrower than the Gaussian, and no narrower than the exponential where the nucleus is
    for centre in (NUCLEI[0], there.drifted[0, 0], NUCLEI[0] + torch.tensor([0.1, 0.1, -0.1], dtype=DOUBLE)):
        logs = -(places - centre).square().sum(-1) / (2 * width**2) - 1.5 * math.log(2 * math.pi * width**2)
        ratios = (logs - there.log_density(places)).exp().flatten()
        error = ratios.std() / math.sqrt(count)
        assert error < 0.1
        assert abs(ratios.mean() - 1) < 4 * error


def test_far_from_nuclei_electrons_scatter_by_a_gaussian_alone():
    there = from_first_nucleus(-4.0, (0.1, 0.2, 0.0), 0.01)
    places = there.drifted + 0.1 * torch.randn(50, 1, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    gaussian = -(places - there.drifted).square().sum(-1) / 0.02 - 1.5 * math.log(2 * math.pi * 0.01)
    torch.testing.assert_close(there.log_density(places), gaussian, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steep", [1.0, 30.0, 1e6])
def test_no_drift_goes_beyond_a_nucleus(steep):
    """However steep: straight at it ends there, and past it ends no lower than it."""
    straight = from_first_nucleus(0.1, (-3 * steep, 0, 0), 0.5)
    assert torch.equal(straight.drifted, straight.nucleus)
    past = from_first_nucleus(0.1, (-0.1 * steep, 3 * steep, 0), 0.05)
    assert (past.drifted - past.nucleus)[0, 0, 0] >= 0


def test_the_drift_is_limited_near_nodes_and_not_towards_nuclei():
    """However steep, it takes an electron no further than sqrt(2 t / a) in a time t."""
    axis = torch.tensor([[[1.0, 0, 0]]], dtype=DOUBLE)
    outwards, inwards = axis.clone(), -axis
    reach = torch.full((1, 1, 1), 3.0, dtype=DOUBLE)
    a = 1 + 9 / (10 * (4 + 9))
    assert limited(1e6 * outwards, axis, reach, 0.01).norm().item() == pytest.approx(math.sqrt(2 / (a * 0.01)), 1e-3)
    torch.testing.assert_close(limited(1e-6 * outwards, axis, reach, 0.01), 1e-6 * outwards, rtol=1e-9, atol=0)
    assert limited(inwards, axis, 1e-3 * reach, 0.01).norm().item() == pytest.approx(1.0, rel=1e-6)
