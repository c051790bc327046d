import math

import pytest
import torch

from qmcnet.optimizers.gradient import centred, without_lost_walkers


def energies(*values):
    return torch.tensor(values, dtype=torch.float64)


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_mean_is_subtracted():
    values = energies(-1.0, 0.0, 4.0)
    assert torch.equal(centred(values, values.isfinite()), energies(-2.0, -1.0, 3.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_lost_walkers_weigh_nothing(bad):
    finite = torch.tensor([True, True, False, True, True])
    values = centred(energies(-1.0, 0.5, bad, 2.0, -0.5), finite)
    assert values[2] == 0
    torch.testing.assert_close(values[finite], energies(-1.25, 0.25, 1.75, -0.75), rtol=0, atol=1e-15)


def test_further_axes_are_centred_each_for_itself():
    finite, values = torch.tensor([True, False, True, True]), draw(4, 3, 2)
    result = centred(values, finite)
    for row in range(3):
        for column in range(2):
            assert torch.equal(result[:, row, column], centred(values[:, row, column], finite))


def test_the_result_sums_to_zero_and_ignores_a_constant_shift():
    values = draw(33).exp()
    result = centred(values, values.isfinite())
    assert abs(result.sum()) < 1e-12
    torch.testing.assert_close(centred(values - 75.0, values.isfinite()), result, rtol=0, atol=1e-12)


def test_without_any_walker_nothing_is_left():
    values = energies(math.nan, math.inf, 3.0)
    assert torch.equal(centred(values, torch.zeros(3, dtype=torch.bool)), torch.zeros(3, dtype=torch.float64))


def test_lost_walkers_are_put_onto_one_that_is_not():
    positions = torch.arange(12, dtype=torch.float64).view(4, 1, 3)
    moved = without_lost_walkers(positions, torch.tensor([False, True, False, True]))
    assert torch.equal(moved, positions[[1, 1, 1, 3]])
    assert torch.equal(without_lost_walkers(positions, torch.ones(4, dtype=torch.bool)), positions)
