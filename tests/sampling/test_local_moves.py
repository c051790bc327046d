"""Moves whose width depends on the place: the acceptance has to know how likely the way back is."""

import math

import pytest
import torch

from qmcnet.sampling import Metropolis
from qmcnet.sampling.lengths import LONGEST, local_lengths
from qmcnet.sampling.proposals import log_ratio
from qmcnet.sampling.surroundings import Surroundings

NUCLEI = torch.tensor([[0.0, 0, 0], [0, 0, 3]], dtype=torch.float64)
CHARGES = torch.tensor([3.0, 1.0], dtype=torch.float64)
each_kind = pytest.mark.parametrize("n_blocks", [1, 2])


SURROUNDINGS = Surroundings(NUCLEI, CHARGES, 1, 1)


def lengths(positions):
    return local_lengths(positions, NUCLEI, CHARGES)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def ions(positions):
    """An electron of Li2+ at the first nucleus and one of hydrogen at the second."""
    return -2 * (CHARGES * (positions - NUCLEI).norm(dim=-1)).sum(-1)


def distance(positions, which):
    return (positions[:, which] - NUCLEI[which]).norm(dim=-1)


def exact_samples(n_walkers):
    """Distances have the density r^2 exp(-2 Z r), directions are uniform."""
    source = generator(5)
    uniform = torch.rand(3, n_walkers, 2, generator=source, dtype=torch.float64)
    distances = -uniform.log().sum(0) / (2 * CHARGES)  # three exponential times make a gamma distribution
    directions = torch.randn(n_walkers, 2, 3, generator=source, dtype=torch.float64)
    return NUCLEI + distances[..., None] * directions / directions.norm(dim=-1, keepdim=True)


@each_kind
def test_two_ions_are_sampled_from_a_start_far_from_equilibrium(n_blocks):
    sampler = Metropolis(steps=10, n_blocks=n_blocks, width=1.0, local=True)
    walkers, source = sampler.start(NUCLEI + torch.full((8000, 2, 3), 0.2, dtype=torch.float64)), generator()
    for _ in range(15):
        walkers, _ = sampler.sweep(ions, walkers, source, surroundings=SURROUNDINGS)
    scaled = CHARGES * (walkers.positions - NUCLEI).norm(dim=-1)
    for power, expected in ((1, 3 / 2), (2, 3), (-1, 1)):
        values = scaled.pow(power)
        error = values.std(0) / math.sqrt(len(values))
        assert (values.mean(0) - expected).abs().max() < 4 * error.max()


@each_kind
def test_one_move_from_the_exact_density_has_equal_flows_between_regions(n_blocks):
    before = exact_samples(200_000)
    sampler = Metropolis(steps=1, n_blocks=n_blocks, width=1.0, local=True)
    after = sampler.sweep(ions, sampler.start(before), generator(), surroundings=SURROUNDINGS)[0].positions
    radius = lambda r, which: (r[:, which] - NUCLEI[which]).norm(dim=-1)  # ruff: ignore[lambda-assignment]
    regions = [lambda r: radius(r, 0) < 0.2, lambda r: radius(r, 1) > 1.5, lambda r: r[:, 0, 2] > 0.3]
    for inside in regions:
        entered = (~inside(before) & inside(after)).sum().item()
        left = (inside(before) & ~inside(after)).sum().item()
        assert entered > 1000
        assert abs(entered - left) < 4 * math.sqrt(entered + left)


def test_the_ratio_is_that_of_the_two_normal_densities():
    before, after = (torch.randn(7, 3, 3, generator=generator(seed), dtype=torch.float64) for seed in (1, 2))
    there, back = (torch.rand(7, 3, 1, generator=generator(seed), dtype=torch.float64) + 0.1 for seed in (3, 4))
    forth = torch.distributions.Normal(before, there.expand_as(before)).log_prob(after).sum((-2, -1))
    returned = torch.distributions.Normal(after, back.expand_as(after)).log_prob(before).sum((-2, -1))
    assert torch.allclose(log_ratio(before, after, there, back), returned - forth, rtol=1e-12)


def test_lengths_are_those_of_the_core_at_a_nucleus_and_the_longest_far_away():
    far = torch.tensor([1e6, 0, 0], dtype=torch.float64)
    at = lengths(torch.stack([NUCLEI[0], NUCLEI[1], far])[None])[0, :, 0]
    cores = 1 / CHARGES
    assert at[:2].tolist() == pytest.approx((cores * LONGEST / (cores + LONGEST)).tolist(), rel=1e-12)
    assert at[2].item() == pytest.approx(LONGEST, rel=1e-5)


@pytest.mark.parametrize("kind", [{"local": True}, {"jumps": 0.1}])
def test_the_molecule_has_to_be_given(kind):
    sampler = Metropolis(**kind)
    with pytest.raises(ValueError, match="surroundings must be given for local moves and jumps"):
        sampler.sweep(ions, sampler.start(exact_samples(2)), generator())
