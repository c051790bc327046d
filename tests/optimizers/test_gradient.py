import math

import pytest
import torch

from qmcnet.optimizers.gradient import centred_energies, check_positive, without_lost_walkers


def energies(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_without_clipping_the_mean_is_subtracted():
    centred, clipped = centred_energies(energies(-1.0, 0.0, 4.0), 0)
    assert torch.equal(centred, energies(-2.0, -1.0, 3.0))
    assert clipped == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_the_window_is_clip_mean_absolute_deviations_about_the_median(sign):
    # median 0, mean absolute deviation (1 + 1 + 0 + 2 + 16) / 5 = 4, window 2 * 4
    centred, clipped = centred_energies(sign * energies(-1.0, 1.0, 0.0, -2.0, 16.0), 2)
    mean = (-1 + 1 + 0 - 2 + 8) / 5
    torch.testing.assert_close(centred, sign * (energies(-1.0, 1.0, 0.0, -2.0, 8.0) - mean))
    assert clipped == pytest.approx(1 / 5)


def test_a_wide_window_clips_nothing():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centred, clipped = centred_energies(values, 100)
    torch.testing.assert_close(centred, values - values.mean())
    assert clipped == 0


@pytest.mark.parametrize("clip", [0, 5])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_walkers_that_are_not_finite_weigh_nothing(bad, clip):
    good = energies(-1.0, 0.5, 2.0, -0.5)
    with_bad = torch.cat([good[:2], energies(bad), good[2:]])
    centred, _ = centred_energies(with_bad, clip)
    expected, _ = centred_energies(good, 0)
    assert centred[2] == 0
    torch.testing.assert_close(centred[[0, 1, 3, 4]], expected)


@pytest.mark.parametrize("clip", [0, 1, 5])
def test_the_result_sums_to_zero_and_ignores_a_constant_shift(clip):
    values = torch.randn(33, generator=torch.Generator().manual_seed(1), dtype=torch.float64).exp()
    centred, clipped = centred_energies(values, clip)
    shifted, also_clipped = centred_energies(values - 75.0, clip)
    assert abs(centred.sum()) < 1e-12
    torch.testing.assert_close(shifted, centred, rtol=0, atol=1e-12)
    assert clipped == also_clipped


def test_lost_walkers_are_put_onto_one_that_is_not():
    positions = torch.arange(12, dtype=torch.float64).view(4, 1, 3)
    moved = without_lost_walkers(positions, energies(math.nan, -1.0, math.inf, -2.0))
    assert torch.equal(moved, positions[[1, 1, 1, 3]])
    assert torch.equal(without_lost_walkers(positions, energies(1.0, 2.0, 3.0, 4.0)), positions)


def test_settings_that_must_be_positive():
    check_positive(rate=1e-300, count=1)
    with pytest.raises(ValueError, match="count=0 must be positive"):
        check_positive(rate=1.0, count=0)
    with pytest.raises(ValueError, match="rate=nan"):
        check_positive(rate=math.nan)
