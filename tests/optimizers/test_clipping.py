import math

import pytest
import torch

from qmcnet.optimizers import Clipping
from qmcnet.optimizers.clipping import median

SHAPES = ["hard", "tanh"]
CENTERS = ["median", "mean"]


def energies(*values):
    """Energies of one factor, (B, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None]


BATCH = energies(-1.0, 1.0, 0.0, -2.0, 16.0)
# Median 0 and mean absolute deviation (1 + 1 + 0 + 2 + 16) / 5; mean 14 / 5 and (3.8 + 1.8 + 2.8 + 4.8 + 13.2) / 5.
WINDOWS = {"median": (0.0, 4.0), "mean": (2.8, 5.28)}


def draw(count, seed=0):
    return torch.randn(count, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("center", "edge"), [("median", 8.0), ("mean", 13.36)])
def test_a_hard_window_cuts_at_its_edges(center, edge, sign):
    clipped, stats = Clipping(width=2.0, center=center)(sign * BATCH)
    torch.testing.assert_close(clipped, sign * energies(-1.0, 1.0, 0.0, -2.0, edge), rtol=1e-14, atol=1e-14)
    assert stats["outliers"] == 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("center", CENTERS)
def test_a_soft_window_bends_energies_by_tanh(center, sign):
    middle, deviation = WINDOWS[center]
    clipped, stats = Clipping(width=2.0, center=center, shape="tanh")(sign * BATCH)
    window = 2 * deviation
    bent = [sign * (middle + window * math.tanh((value - middle) / window)) for value in BATCH[:, 0].tolist()]
    torch.testing.assert_close(clipped, energies(*bent), rtol=1e-13, atol=1e-13)
    assert stats["outliers"] == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("center", "width", "count"),
    [("median", 4.01, 0), ("median", 0.26, 2), ("median", 0.24, 4), ("mean", 2.51, 0), ("mean", 0.9, 2)],
)
def test_outliers_are_the_energies_outside_of_the_window(center, width, count, shape):
    _, stats = Clipping(width=width, center=center, shape=shape)(BATCH)
    assert stats["outliers"] == count


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", CENTERS)
def test_real_and_imaginary_parts_have_windows_of_their_own(center, shape):
    clipping, real, imag = Clipping(width=1.5, center=center, shape=shape), draw(40).pow(3), 0.1 * draw(40, 1).pow(3)
    clipped, stats = clipping(torch.cat([real, imag], 1))
    expected = torch.cat([clipping(part)[0] for part in (real, imag)], 1)
    torch.testing.assert_close(clipped, expected, rtol=1e-13, atol=1e-13)
    assert (clipped[:, 1:] != imag).any()
    cut = Clipping(width=1.5, center=center)
    outside = torch.cat([(cut(part)[0] - part).abs() > 1e-9 for part in (real, imag)], 1)
    assert stats["outliers"] == outside.any(-1).sum() < outside.sum()  # walkers, however many of their energies


def test_energies_of_which_one_part_is_not_finite_keep_what_is():
    values = torch.cat([draw(9), draw(9, 1)], 1)
    values[2], values[5] = torch.tensor([math.nan, 0.0]), torch.tensor([0.0, math.inf])
    clipped, _ = Clipping(width=1.0)(values)
    assert clipped.isfinite().tolist() == values.isfinite().tolist()
    unclipped, _ = Clipping(width=None)(values)
    assert torch.equal(unclipped.nan_to_num(), values.nan_to_num())


def test_a_width_of_five_is_five_deviations_about_the_median():
    values = draw(99)
    values[3] = 20.0
    apart = (values - values.median()).abs()
    assert 5 * apart.mean() < apart[3] < 20 * apart.sort(0).values[49] * 1.6
    deviation = apart.clamp(max=20 * apart.median()).mean()
    clipped, _ = Clipping(width=5.0)(values)
    expected = values.clone()
    expected[3] = values.median() + 5 * deviation
    torch.testing.assert_close(clipped, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("planted", [1, 25])
@pytest.mark.parametrize("far", [-1e6, 1e12, -1e300])
def test_walkers_that_are_lost_in_all_but_name_do_not_steer(far, planted, shape):
    """Each adds no more than 20 median deviations, 30 mean ones of a normal distribution, to the sum of all."""
    values = draw(500, seed=3)
    clip = Clipping(width=5.0, shape=shape)
    kept, _ = clip(values)
    clipped, stats = clip(torch.cat([values, torch.full((planted, 1), far, dtype=torch.float64)]))
    deviation = values.abs().mean()
    assert stats["outliers"] >= planted
    assert (clipped[500:].abs() < 5.5 * (1 + 30 * planted / 500) * deviation).all()
    assert (clipped[500:] * math.copysign(1, far) > 4 * deviation).all()
    assert (clipped[:500] - kept).abs().max() < 30 * planted / 500 * deviation


def test_the_tail_behind_a_core_potential_steers_and_a_walker_that_is_lost_does_not():
    """A hundredth of the walkers has nearly all of the variance: what they say is to count."""
    values = draw(500, seed=4)
    values[:5] = torch.tensor([[-60.0], [45.0], [-30.0], [20.0], [-60.0]], dtype=torch.float64)
    assert values[:5].square().sum() > 0.9 * values.square().sum()
    clipped, stats = Clipping().chosen(True)(torch.cat([values, torch.full((1, 1), -1e9, dtype=torch.float64)]))
    torch.testing.assert_close(clipped[:500], values, rtol=0, atol=1e-13)
    assert stats["outliers"] == 1
    assert -200 < clipped[500] < -50


def test_a_width_that_is_left_open_follows_from_the_system():
    values = torch.cat([draw(500), torch.full((1, 1), 1e9, dtype=torch.float64)])
    for behind_cores, width in ((False, 10.0), (True, 100.0)):
        torch.testing.assert_close(Clipping().chosen(behind_cores)(values), Clipping(width=width)(values))
        assert Clipping(width=3.0).chosen(behind_cores) == Clipping(width=3.0)
        assert Clipping(width=None).chosen(behind_cores).width is None
    torch.testing.assert_close(Clipping()(values), Clipping(width=10.0)(values))
    with pytest.raises(ValueError, match="width='wide' must be auto, or a number"):
        Clipping(width="wide")


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_centre_is_the_median_of_torch(count):
    values = draw(40, seed=count)
    values[count:] = math.nan
    values = values[torch.randperm(40, generator=torch.Generator().manual_seed(count))]
    assert torch.equal(median(values, values.isfinite())[0, 0], values.nanmedian())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_energies_that_are_not_finite_pass_and_move_nothing(bad, center, shape):
    clip = Clipping(width=1.5, center=center, shape=shape)
    expected, stats = clip(BATCH)
    clipped, with_bad = clip(torch.cat([BATCH[:2], energies(bad), BATCH[2:], energies(bad)]))
    torch.testing.assert_close(clipped[[0, 1, 3, 4, 5]], expected, rtol=0, atol=0)
    assert with_bad["outliers"] == stats["outliers"] == 1
    for value in clipped[[2, 6], 0].tolist():
        assert value == bad or (math.isnan(value) and math.isnan(bad))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", CENTERS)
def test_a_batch_without_a_finite_energy_stays_as_it_is(center, shape):
    clipped, stats = Clipping(center=center, shape=shape)(energies(math.nan, math.inf))
    assert math.isnan(clipped[0])
    assert clipped[1] == math.inf
    assert stats["outliers"] == 0


def test_without_a_width_energies_are_left_alone():
    values = energies(-1.0, math.nan, 1e9, -math.inf)
    clipped, stats = Clipping(width=None)(values)
    torch.testing.assert_close(clipped, values, rtol=0, atol=0, equal_nan=True)
    assert stats["outliers"] == 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equal_energies_have_no_window_and_stay(count, center, shape):
    values = torch.full((count, 1), -75.3, dtype=torch.float64)
    clipped, stats = Clipping(center=center, shape=shape)(values)
    torch.testing.assert_close(clipped, values, rtol=1e-15, atol=0)
    assert stats["outliers"] == 0


@pytest.mark.parametrize("center", CENTERS)
def test_a_window_that_is_wide_enough_changes_nothing(center):
    values = draw(50)
    clipped, stats = Clipping(width=100.0, center=center)(values)
    torch.testing.assert_close(clipped, values, rtol=0, atol=1e-14)
    assert stats["outliers"] == 0
    bent, _ = Clipping(width=1e6, center=center, shape="tanh")(values)
    torch.testing.assert_close(bent, values, rtol=0, atol=1e-10)


@pytest.mark.parametrize("center", CENTERS)
def test_a_soft_window_keeps_the_order_and_stays_inside(center):
    values = draw(41, seed=1).exp()
    clipped, _ = Clipping(width=1.0, center=center, shape="tanh")(values)
    middle = values.median() if center == "median" else values.mean()
    assert ((clipped - middle).abs() < (values - middle).abs().mean()).all()
    assert torch.equal(clipped.argsort(0), values.argsort(0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("center", CENTERS)
def test_a_constant_shift_passes_through(center, shape):
    values, clip = draw(33, seed=2).exp(), Clipping(width=2.0, center=center, shape=shape)
    clipped, stats = clip(values)
    shifted, also = clip(values - 75.0)
    torch.testing.assert_close(shifted, clipped - 75.0, rtol=0, atol=1e-12)
    assert stats["outliers"] == also["outliers"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0.0}, "width=0.0 must be positive"),
        ({"width": -1.0}, "width=-1.0 must be positive"),
        ({"width": math.nan}, "width=nan must be positive"),
        ({"width": math.inf}, "width=inf must be positive"),
        ({"center": "mode"}, "center='mode' must be one of mean, median"),
        ({"shape": "soft"}, "shape='soft' must be one of hard, tanh"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        Clipping(**settings)


@pytest.mark.parametrize("shape", ["hard", "tanh"])
def test_every_state_has_a_window_of_its_own(shape):
    energies = torch.randn(200, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    energies = energies * torch.tensor([0.1, 1.0, 10.0]) + torch.tensor([-5.0, 0.0, 3.0])
    energies[3, 0], energies[4, 2], energies[9, 1] = 1e3, -1e3, math.nan
    clipping = Clipping(width=5.0, shape=shape)
    found, statistics = clipping(energies)
    columns = [clipping(column) for column in energies.split(1, -1)]
    expected = torch.cat([column for column, _ in columns], -1)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-12, equal_nan=True)
    assert statistics["outliers"] == sum(part["outliers"] for _, part in columns) >= 2
    assert abs(found[3, 0]) < 30
