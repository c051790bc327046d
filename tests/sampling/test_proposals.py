from functools import partial

import pytest
import torch

from qmcnet.sampling.proposals import Draws, all_electron, one_block

N_ELECTRONS = 4
WIDTH = torch.tensor(0.7, dtype=torch.float64)
PROPOSALS = {
    1: all_electron,
    2: partial(one_block, n_blocks=2),
    N_ELECTRONS: partial(one_block, n_blocks=N_ELECTRONS),
}
each_proposal = pytest.mark.parametrize("n_blocks", PROPOSALS)


def displacements(n_blocks, positions):
    draws = Draws(torch.Generator().manual_seed(3), len(positions))
    return PROPOSALS[n_blocks](positions, WIDTH, draws) - positions


@each_proposal
def test_displacements_do_not_depend_on_the_position(n_blocks):
    here = torch.zeros(50, N_ELECTRONS, 3, dtype=torch.float64)
    there = 5 * torch.randn(here.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(displacements(n_blocks, here), displacements(n_blocks, there), rtol=0, atol=1e-13)


@each_proposal
def test_displacements_are_symmetric_and_of_the_given_width(n_blocks):
    n = 40_000
    moves = displacements(n_blocks, torch.zeros(n, N_ELECTRONS, 3, dtype=torch.float64)) / WIDTH
    share = 1 / n_blocks
    # A displaced coordinate is a unit normal: its moments 2, 4, 6 are 1, 3, 15, the odd ones vanish.
    for power, expected, second in ((1, 0, 1), (3, 0, 15), (2, 1, 3)):
        error = (share * (second - share * expected**2) / n) ** 0.5
        assert ((moves**power).mean(0) - share * expected).abs().max() < 4.5 * error


@pytest.mark.parametrize(("n_blocks", "groups"), [(2, [[0, 1], [2, 3]]), (4, [[0], [1], [2], [3]])])
def test_each_walker_moves_one_whole_block_and_all_blocks_occur_equally(n_blocks, groups):
    n = 8000
    moved = (displacements(n_blocks, torch.zeros(n, N_ELECTRONS, 3, dtype=torch.float64)) != 0).all(-1)
    for group in groups:
        rows = torch.tensor([i in group for i in range(N_ELECTRONS)])
        count = (moved == rows).all(-1).sum().item()
        expected = n / n_blocks
        assert abs(count - expected) < 4 * (expected * (1 - 1 / n_blocks)) ** 0.5
    assert torch.equal(moved.sum(-1), torch.full((n,), N_ELECTRONS // n_blocks))


def test_blocks_differ_by_at_most_one_electron():
    positions = torch.zeros(500, 5, 3, dtype=torch.float64)
    moved = (one_block(positions, WIDTH, Draws(torch.Generator().manual_seed(0), len(positions)), n_blocks=2) != 0).all(
        -1
    )
    assert set(moved.sum(-1).tolist()) == {2, 3}
    assert moved.any(0).all()


def test_more_blocks_than_electrons_are_refused():
    with pytest.raises(ValueError, match=r"n_blocks=5 is more than the 4 electrons: choose 1\.\.4"):
        one_block(torch.zeros(2, 4, 3), WIDTH, Draws(torch.Generator(), 2), n_blocks=5)


@each_proposal
def test_float32_positions_stay_float32(n_blocks):
    positions = torch.zeros(2, N_ELECTRONS, 3)
    assert PROPOSALS[n_blocks](positions, WIDTH, Draws(torch.Generator(), 2)).dtype == torch.float32
