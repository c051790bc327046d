import math

import pytest
import torch
from diffusion.systems import fermions, hydrogen, population, trap

from qmcnet.diffusion import Branching
from qmcnet.sampling.proposals import Draws
from qmcnet.statistics.estimate import estimate
from qmcnet.statistics.mixed import equilibrated

TIME_STEP_BIAS = 0.005
"""Hartree, of the poor guides below at a time step of 0.02: with 4000 walkers .0025(15) and .0049(16)."""


def energy(guide, timestep, generations, n_walkers, n_electrons, start, one_by_one, window=5.0):
    walkers, move = population(guide, n_walkers, n_electrons, one_by_one=one_by_one)
    rows = [walkers.advance(move, Branching(start, n_electrons, timestep)) for _ in range(generations)]
    series = [[getattr(row, name).item() for row in rows] for name in ("energy", "log_weight")]
    return equilibrated(*series, math.ceil(window / timestep))[1], rows


@pytest.mark.parametrize("timestep", [0.01, 0.3])
@pytest.mark.parametrize(("guide", "n_electrons", "exact"), [(hydrogen(1.0), 1, -0.5), (trap(1.0), 3, 4.5)])
@pytest.mark.parametrize("one_by_one", [False, True])
def test_an_exact_guide_has_no_variance_and_no_bias_at_any_time_step(guide, n_electrons, exact, timestep, one_by_one):
    walkers, move = population(guide, 50, n_electrons, one_by_one=one_by_one)
    for _ in range(20):
        generation = walkers.advance(move, Branching(exact, n_electrons, timestep))
        assert generation.energy.item() == pytest.approx(exact, abs=1e-12)
        assert generation.variance.item() < 1e-24
        assert generation.log_weight.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("guide", "one_by_one", "variational", "exact"),
    [
        (trap(0.7), False, 1.5 * (0.7 + 1 / 0.7), 3.0),
        (fermions(0.7), False, 2 * (0.7 + 1 / 0.7), 4.0),
        (fermions(0.7), True, 2 * (0.7 + 1 / 0.7), 4.0),
    ],
    ids=["trap", "fermions", "fermions one by one"],
)
def test_a_poor_guide_with_the_right_nodes_leads_to_the_exact_energy(guide, one_by_one, variational, exact):
    found, rows = energy(guide, 0.02, 1500, 400, 2, exact, one_by_one)
    assert found.standard_error < (variational - exact) / 20
    assert abs(found.mean - exact) < TIME_STEP_BIAS + 4 * found.standard_error
    assert sum(row.reconfigured.item() for row in rows) > 10  # so that walkers of equal weights are tested too


@pytest.mark.parametrize(("timestep", "one_by_one"), [(0.1, False), (0.8, False), (0.8, True)])
def test_moves_alone_leave_the_square_of_the_wavefunction_as_it_is(timestep, one_by_one):
    walkers, move = population(hydrogen(1.0), 400, one_by_one=one_by_one)
    draws, now, series = Draws(walkers.generator, 400), walkers.walkers, []
    for step in range(500):
        now = move(now, timestep, draws).walkers
        if step >= 100:
            distance = now.positions[:, 0].norm(dim=-1)
            series.append(torch.stack([distance, distance.square(), 1 / distance], -1))
    for values, exact in zip(torch.stack(series).unbind(-1), (1.5, 3.0, 1.0), strict=True):
        found = estimate(values.numpy())
        assert found.standard_error < 0.04 * exact
        assert abs(found.mean - exact) < 4 * found.standard_error


@pytest.mark.parametrize("one_by_one", [False, True])
def test_walkers_never_change_the_sign_of_the_wavefunction(one_by_one):
    walkers, move = population(fermions(1.0), 200, 2, one_by_one=one_by_one)
    signs, crossed = walkers.walkers.sign.clone(), 0.0
    draws, now = Draws(walkers.generator, 200), walkers.walkers
    for _ in range(50):
        moved = move(now, 0.3, draws)
        now, crossed = moved.walkers, crossed + moved.crossed.sum().item()
        assert torch.equal(now.sign, signs)
    assert crossed > 0


def test_one_by_one_more_moves_are_accepted_and_every_electron_moves():
    rows = [population(fermions(1.0), 300, 2, one_by_one=kind) for kind in (False, True)]
    moved = [move(walkers.walkers, 0.3, Draws(walkers.generator, 300)) for walkers, move in rows]
    assert moved[1].accepted.mean() > moved[0].accepted.mean() + 0.02
    for (walkers, _), after in zip(rows, moved, strict=True):
        assert bool((after.walkers.positions != walkers.walkers.positions).any(-1).any(0).all())
        assert bool((after.accepted_squares <= after.proposed_squares).all())


def test_what_is_not_finite_is_never_moved_to():
    def guide(positions):
        found = hydrogen(1.0)(positions)
        bad = positions[:, 0, 0] > 0.5
        found.energy[bad] = torch.nan
        return found

    walkers, move = population(hydrogen(1.0), 100)
    move = type(move)(guide, move.nuclei, move.charges)
    before = walkers.walkers
    after = move(before, 1.0, Draws(walkers.generator, 100)).walkers
    moved = (after.positions != before.positions).flatten(1).any(-1)
    assert moved.any()
    assert bool((after.positions[moved, 0, 0] <= 0.5).all())
    assert bool(after.energy[moved].isfinite().all())
