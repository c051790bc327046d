import math

import pytest
import torch

from qmcnet.diffusion import Branching, comb

DOUBLE = torch.float64


def test_weights_are_those_of_the_mean_energy_along_a_step():
    before, after = torch.tensor([-1.0, -0.4], dtype=DOUBLE), torch.tensor([-0.6, -0.6], dtype=DOUBLE)
    found = Branching(-0.5, 2, 0.1).log_weight(before, after, torch.tensor(0.08, dtype=DOUBLE))
    torch.testing.assert_close(found, torch.tensor([0.08 * 0.3, 0.0], dtype=DOUBLE))


@pytest.mark.parametrize(("n_electrons", "timestep"), [(4, 0.01), (16, 0.01), (4, 0.04)])
def test_energies_are_cut_off_in_proportion_to_the_root_of_electrons_over_time(n_electrons, timestep):
    largest = 0.2 * math.sqrt(n_electrons / timestep)
    energies = torch.tensor([-1e6, 1e6, -3.0 + largest * 0.9], dtype=DOUBLE)
    found = Branching(-3.0, n_electrons, timestep).log_weight(energies, energies, torch.tensor(1.0, dtype=DOUBLE))
    torch.testing.assert_close(found, torch.tensor([largest, -largest, -0.9 * largest], dtype=DOUBLE))


@pytest.mark.parametrize("offset", [0.0, 0.37, 1 - 2**-53])
def test_a_comb_takes_each_walker_as_often_as_it_weighs_up_to_one(offset):
    weights = torch.tensor([0.0, 1.9, 0.2, 0.0, 3.1, 0.8], dtype=DOUBLE)
    kept = comb(weights, torch.tensor(offset, dtype=DOUBLE))
    counts = kept.bincount(minlength=6).double()
    assert len(kept) == 6
    assert bool(((counts - 6 * weights / weights.sum()).abs() < 1).all())
    assert counts[0] == counts[3] == 0


def test_a_comb_is_right_on_average():
    weights = torch.rand(7, dtype=DOUBLE, generator=torch.Generator().manual_seed(1)) + 0.1
    offsets = (torch.arange(2000, dtype=DOUBLE) + 0.5) / 2000
    counts = sum(comb(weights, offset).bincount(minlength=7).double() for offset in offsets) / 2000
    torch.testing.assert_close(counts, 7 * weights / weights.sum(), rtol=0, atol=2e-3)


def test_equal_weights_leave_all_walkers_as_they_are():
    assert torch.equal(comb(torch.full((9,), 0.3), torch.tensor(0.5)), torch.arange(9))
