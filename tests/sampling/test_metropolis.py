import math

import pytest
import torch

from qmcnet.sampling import Metropolis, Walkers

each_kind = pytest.mark.parametrize("n_blocks", [1, 2])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(positions):
    return -0.5 * positions.square().sum((-1, -2))


def hydrogenic(positions):
    return -2 * positions.norm(dim=-1).sum(-1)


def draw_gaussian(n_walkers, n_electrons, seed=5):
    return torch.randn(n_walkers, n_electrons, 3, generator=generator(seed), dtype=torch.float64)


def run(sampler, log_prob, walkers, n_sweeps, seed=0, adapt=True):
    source = generator(seed)
    for _ in range(n_sweeps):
        walkers, stats = sampler.sweep(log_prob, walkers, source, adapt=adapt)
    return walkers, stats


def assert_mean(samples, expected):
    error = samples.std() / math.sqrt(len(samples))
    assert abs(samples.mean() - expected) < 4 * error


# The walkers are independent and only their last positions are used: errors need no autocorrelation.
@each_kind
def test_a_gaussian_is_sampled_from_a_start_far_outside(n_blocks):
    sampler = Metropolis(n_blocks=n_blocks, width=1.0)
    start = sampler.start(torch.full((8000, 2, 3), 2.0, dtype=torch.float64))
    positions = run(sampler, gaussian, start, 15)[0].positions
    for electron in range(2):
        assert_mean(positions[:, electron, 0], 0)
        assert_mean(positions[:, electron].square().sum(-1), 3)
        assert_mean(positions[:, electron].square().sum(-1).square(), 15)
    assert_mean(positions[:, 0, 2] * positions[:, 1, 2], 0)


@each_kind
def test_two_hydrogen_atoms_are_sampled(n_blocks):
    sampler = Metropolis(n_blocks=n_blocks, width=1.0)
    start = sampler.start(torch.full((8000, 2, 3), 0.1, dtype=torch.float64))
    radii = run(sampler, hydrogenic, start, 15)[0].positions.norm(dim=-1)
    for electron in range(2):
        assert_mean(radii[:, electron], 3 / 2)  # <r^k> = (k + 2)! / 2^(k + 1)
        assert_mean(radii[:, electron].square(), 3)
        assert_mean(1 / radii[:, electron], 1)


@each_kind
def test_one_move_from_the_exact_density_has_equal_flows_between_regions(n_blocks):
    before = draw_gaussian(200_000, 2)
    sampler = Metropolis(steps=1, n_blocks=n_blocks, width=1.0)
    after = sampler.sweep(gaussian, sampler.start(before), generator())[0].positions
    regions = [lambda r: r[:, 0].norm(dim=-1) > 1.5, lambda r: r[:, 1, 0] > 0.5, lambda r: gaussian(r) < -3]
    for inside in regions:
        entered = (~inside(before) & inside(after)).sum().item()
        left = (inside(before) & ~inside(after)).sum().item()
        assert entered > 1000
        assert abs(entered - left) < 4 * math.sqrt(entered + left)


@each_kind
def test_acceptance_is_one_uphill_and_the_ratio_of_probabilities_downhill(n_blocks):
    def half_space(positions):
        return torch.where(positions[:, 0, 0] > 0, -1.0, 0.0).double()

    n, sampler = 60_000, Metropolis(steps=1, n_blocks=n_blocks, width=1.0)
    for start, expected in ((-1e-3, math.exp(-1)), (1e-3, 1.0)):
        proposals = []

        def log_prob(positions, proposals=proposals):
            proposals.append(positions)
            return half_space(positions)

        walkers = sampler.start(torch.full((n, 2, 3), start, dtype=torch.float64))
        moved = sampler.sweep(log_prob, walkers, generator())[0].positions
        crossing = half_space(proposals[1]) != half_space(proposals[0])
        accepted = (moved == proposals[1]).all(-1).all(-1)
        share = accepted[crossing].double().mean().item()
        error = math.sqrt(expected * (1 - expected) / crossing.sum().item())
        assert crossing.sum() > n / 5
        assert abs(share - expected) <= 4 * error
        assert accepted[~crossing].all()
        assert torch.equal(moved[~accepted], walkers.positions[~accepted])


@pytest.mark.parametrize("width", [0.002, 9.0])
@each_kind
def test_the_width_is_steered_into_the_target_band(n_blocks, width):
    sampler = Metropolis(n_blocks=n_blocks, width=width)
    walkers = run(sampler, gaussian, sampler.start(draw_gaussian(400, 4)), 30)[0]
    stats = run(Metropolis(steps=100, n_blocks=n_blocks), gaussian, walkers, 1, adapt=False)[1]
    assert 0.48 < stats["pmove"] < 0.57


def test_no_number_of_blocks_moves_single_electrons():
    start = Metropolis().start(draw_gaussian(50, 3))
    single, blocked = (run(Metropolis(n_blocks=n), gaussian, start, 2)[0] for n in (None, 3))
    assert torch.equal(single.positions, blocked.positions)


def test_more_blocks_than_electrons_are_refused():
    with pytest.raises(ValueError, match=r"n_blocks=4 is more than the 3 electrons: choose 1\.\.3"):
        run(Metropolis(n_blocks=4), gaussian, Metropolis().start(draw_gaussian(2, 3)), 1)
    with pytest.raises(ValueError, match=r"n_blocks=4 is more than the 3 electrons: choose 1\.\.3"):
        Metropolis(n_blocks=4).start(draw_gaussian(2, 3))


def test_the_width_stays_in_bounds():
    sampler = Metropolis(width=1.0)
    start = sampler.start(torch.zeros(8, 1, 3, dtype=torch.float64))
    accepts_all = run(sampler, lambda r: r.new_zeros(len(r)), start, 30)
    accepts_none = run(sampler, lambda r: -1e9 * r.square().sum((-1, -2)), start, 30)
    assert accepts_all[0].width.item() == pytest.approx(10)
    assert accepts_none[0].width.item() == pytest.approx(1e-3)


def test_a_width_in_the_band_and_a_width_without_adaption_stay_as_they_are():
    sampler = Metropolis(width=1.0, target_low=0.01, target_high=0.99)
    start = sampler.start(draw_gaussian(100, 2))
    assert run(sampler, gaussian, start, 1)[0].width == 1
    assert run(Metropolis(), gaussian, start, 3, adapt=False)[0].width == 1


def test_a_non_finite_log_probability_is_never_entered_and_always_left():
    def log_prob(positions):
        x = positions[:, 0, 0]
        value = gaussian(positions)
        for bad, low in ((math.nan, 0.5), (math.inf, 1.0), (-math.inf, 1.5)):
            value = torch.where(x > low, bad, value)
        return value

    sampler = Metropolis(width=1.0)
    start = sampler.start(torch.tensor([-1.0, 0.7, 1.2, 2.0], dtype=torch.float64)[:, None, None].expand(4, 2, 3))
    walkers = run(sampler, log_prob, start, 20)[0]
    assert log_prob(start.positions).isfinite().tolist() == [True, False, False, False]
    assert log_prob(walkers.positions).isfinite().all()


def test_a_walker_among_non_finite_values_stays_where_it_is():
    sampler = Metropolis()
    start = sampler.start(draw_gaussian(6, 2))
    walkers, stats = sampler.sweep(lambda r: torch.full((len(r),), math.nan).double(), start, generator())
    assert torch.equal(walkers.positions, start.positions)
    assert stats["pmove"] == 0
    assert stats["stuck_share"] == 1
    assert stats["step_length"] == 0


def test_statistics_agree_with_the_positions():
    sampler = Metropolis(steps=2, width=2.0)
    start = sampler.start(draw_gaussian(500, 2))
    walkers, stats = sampler.sweep(gaussian, start, generator())
    stuck = (walkers.positions == start.positions).all(-1).all(-1)
    assert 0.01 < stuck.double().mean() < 0.9
    assert stats["stuck_share"] == stuck.double().mean()
    assert stats["width"] == start.width
    torch.testing.assert_close(stats["step_length"], (walkers.positions - start.positions).norm(dim=-1).mean())
    torch.testing.assert_close(stats["log_prob"], gaussian(walkers.positions).mean())
    single = Metropolis(steps=1, width=2.0).sweep(gaussian, start, generator())[1]
    torch.testing.assert_close(single["pmove"], 1 - single["stuck_share"])
    assert all(value.ndim == 0 and value.dtype == torch.float64 for value in stats.values())


def test_log_prob_is_evaluated_once_a_move_and_once_before_without_gradients():
    calls = []

    def log_prob(positions):
        calls.append(torch.is_grad_enabled())
        return gaussian(positions)

    sampler = Metropolis(steps=7)
    sampler.sweep(log_prob, sampler.start(draw_gaussian(3, 2)), generator())
    assert calls == [False] * 8


def test_only_the_given_generator_is_used():
    sampler = Metropolis(n_blocks=2)
    start = sampler.start(draw_gaussian(5, 3))
    state = torch.random.get_rng_state()
    first = run(sampler, gaussian, start, 2, seed=1)[0].positions
    torch.rand(1)
    torch.random.set_rng_state(state)
    assert torch.equal(run(sampler, gaussian, start, 2, seed=1)[0].positions, first)
    assert not torch.equal(run(sampler, gaussian, start, 2, seed=2)[0].positions, first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_sweep_from_the_saved_state_continues_bit_for_bit():
    sampler, source = Metropolis(n_blocks=2), generator()
    walkers = sampler.sweep(gaussian, sampler.start(draw_gaussian(5, 3)), source)[0]
    saved, random_state = walkers.to_state(), source.get_state()
    expected = sampler.sweep(gaussian, walkers, source)[0]
    source.manual_seed(99)
    source.set_state(random_state)
    resumed = sampler.sweep(gaussian, Walkers.from_state(saved), source)[0]
    assert torch.equal(resumed.positions, expected.positions)
    assert torch.equal(resumed.width, expected.width)


def test_float32_walkers_stay_float32():
    sampler = Metropolis(n_blocks=2)
    walkers, stats = sampler.sweep(gaussian, sampler.start(draw_gaussian(5, 2).float()), generator())
    assert walkers.positions.dtype == torch.float32
    assert stats["pmove"].dtype == torch.float64


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"n_blocks": 0}, "n_blocks=0 must be at least 1"),
        ({"width": 0.0}, r"width=0.0 must be between 0\.001 and 10"),
        ({"target_low": 0.0}, "target_low=0.0 must be positive"),
        ({"target_low": 0.6}, r"target_high=0.55 must be at least 0\.6 and less than 1"),
        ({"target_high": 1.0}, r"target_high=1.0 must be at least 0\.5 and less than 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Metropolis(**settings)
