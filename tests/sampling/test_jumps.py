"""Moves that join regions far apart: of spins by exchange, of charges by hopping."""

import math

import pytest
import torch

from qmcnet.sampling import Metropolis
from qmcnet.sampling.proposals import Draws
from qmcnet.sampling.surroundings import Surroundings

NUCLEI = torch.tensor([[0.0, 0, 0], [0, 0, 14]], dtype=torch.float64)
HYDROGEN = Surroundings(NUCLEI, torch.ones(2, dtype=torch.float64), 1, 1)
IONIC = 0.6  # amplitude of both electrons at one atom over that of one at each


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def molecule(positions):
    """Log-density of two electrons about two protons so far apart that no short move leads from one to the other."""
    a, b = (torch.exp(-(positions - nucleus).norm(dim=-1)) for nucleus in NUCLEI)  # (B, 2) each
    covalent = a[:, 0] * b[:, 1] + b[:, 0] * a[:, 1]
    return 2 * (covalent + IONIC * (a.prod(-1) + b.prod(-1))).log()


def sampled(jumps, local, n_sweeps=40, n_walkers=2000):
    sampler = Metropolis(steps=5, width=0.7, local=local, jumps=jumps)
    start = NUCLEI + 0.5 * torch.randn(n_walkers, 2, 3, generator=generator(1), dtype=torch.float64)
    walkers, source = sampler.start(start), generator()
    for _ in range(n_sweeps):
        walkers, stats = sampler.sweep(molecule, walkers, source, surroundings=HYDROGEN)
    return walkers.positions[..., 2] > 7, stats


@pytest.mark.parametrize("local", [False, True])
def test_spins_and_charges_are_where_the_density_says(local):
    at_second, stats = sampled(0.2, local)
    share = IONIC**2 / (1 + IONIC**2)
    error = 0.5 / math.sqrt(len(at_second))
    assert abs((at_second[:, 0] == at_second[:, 1]).double().mean().item() - share) < 4 * error
    assert abs(at_second[:, 0].double().mean().item() - 0.5) < 4 * error
    assert abs(at_second[:, 1].double().mean().item() - 0.5) < 4 * error
    assert 0.2 < stats["pmove"].item() < 0.8  # of the short moves alone


def test_short_moves_alone_stay_where_they_are():
    at_second, _ = sampled(0.0, False, n_sweeps=5)
    assert not at_second[:, 0].any()
    assert at_second[:, 1].all()


def test_jumps_exchange_spins_or_move_one_electron_between_nuclei():
    three = Surroundings(torch.randn(3, 3, generator=generator(2), dtype=torch.float64), torch.ones(3), 2, 1)
    before = torch.randn(4000, 6, 3, generator=generator(3), dtype=torch.float64)  # two copies of three electrons
    after = three.jumped(before, Draws(generator(), 4000))
    moved = (after != before).any(-1)  # (B, 6)
    exchanged, hopped = moved.sum(-1) == 2, moved.sum(-1) == 1
    assert bool((exchanged | hopped).all())
    assert 0.45 < exchanged.double().mean() < 0.55
    pairs = {tuple(row.nonzero()[:, 0].tolist()) for row in moved[exchanged]}
    assert pairs == {(0, 2), (1, 2), (3, 5), (4, 5)}  # a spin up and a spin down of the same copy
    sorted_rows = [torch.sort(rows[exchanged].flatten(1)).values for rows in (before, after)]
    assert torch.equal(*sorted_rows)
    steps = (after - before)[hopped][moved[hopped]]
    vectors = (three.nuclei[:, None] - three.nuclei)[~torch.eye(3, dtype=torch.bool)]
    nearest = (steps[:, None] - vectors).norm(dim=-1)
    assert nearest.amin(-1).max() < 1e-12
    assert nearest.argmin(-1).bincount().min() > 200  # every ordered pair of nuclei


@pytest.mark.parametrize(("n_nuclei", "n_down"), [(1, 1), (2, 0), (1, 0)])
def test_what_cannot_jump_stays(n_nuclei, n_down):
    few = Surroundings(NUCLEI[:n_nuclei], torch.ones(n_nuclei), 2, n_down)
    before = torch.randn(500, 2 + n_down, 3, generator=generator(3), dtype=torch.float64)
    moved = (few.jumped(before, Draws(generator(), 500)) != before).any(-1).sum(-1)
    assert set(moved.tolist()) == {0} | ({2} if n_down else set()) | ({1} if n_nuclei > 1 else set())


@pytest.mark.parametrize("jumps", [-0.1, 1.0])
def test_a_share_is_below_one(jumps):
    with pytest.raises(ValueError, match=f"jumps={jumps} must be at least 0 and less than 1"):
        Metropolis(jumps=jumps)
