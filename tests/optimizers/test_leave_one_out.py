"""Energies over 1 - leverage: the solution in which each walker meets a curvature without itself."""

import pytest
import torch

from qmcnet.optimizers import least_squares
from qmcnet.optimizers.operator import LayerScores, ScoreOperator, Slot

N_WALKERS, DAMPING = 12, 0.05


def operator(n_parameters, n_functions=1, seed=0):
    """Scores (B G, P) as those of one layer, and energies (B G,)."""
    source = torch.Generator().manual_seed(seed)
    rows = N_WALKERS * n_functions
    scores = torch.randn(rows, n_parameters, generator=source, dtype=torch.float64)
    scores = scores * torch.rand(rows, 1, generator=source, dtype=torch.float64) * 2
    layer = LayerScores(scores[:, None], torch.ones(rows, 1, 1, dtype=torch.float64), (Slot(0, 1, n_parameters),))
    energies = torch.randn(rows, generator=source, dtype=torch.float64)
    return ScoreOperator([layer], n_parameters, N_WALKERS), scores, energies


def centred(values, n_functions):
    grouped = values.unflatten(0, (N_WALKERS, n_functions))
    return (grouped - grouped.mean(0)).flatten(0, 1)


@pytest.mark.parametrize("n_functions", [1, 2])
@pytest.mark.parametrize("n_parameters", [5, 60])
def test_it_equals_leaving_each_walker_out_of_the_curvature_and_of_its_mean(n_parameters, n_functions):
    scores, rows, energies = operator(n_parameters, n_functions)
    system = least_squares.normal_equations(scores, torch.ones(N_WALKERS, dtype=torch.bool))
    target, rows = centred(energies, n_functions) / N_WALKERS**0.5, centred(rows, n_functions) / N_WALKERS**0.5
    grouped = rows.unflatten(0, (N_WALKERS, n_functions))  # (B, G, P)
    damping, expected = DAMPING * torch.eye(n_parameters, dtype=torch.float64), 0
    for walker in range(N_WALKERS):
        others = torch.cat([grouped[:walker], grouped[walker + 1 :]])
        others = (others - others.mean(0)).flatten(0, 1)
        own = target.unflatten(0, (N_WALKERS, n_functions))[walker]
        expected = expected + torch.linalg.solve(others.mT @ others + damping, grouped[walker].mT @ own)
    found, _ = system.solve(system.leave_one_out(target, DAMPING), DAMPING)
    assert torch.allclose(found / found.norm(), expected / expected.norm(), rtol=0, atol=1e-10)
    plain, _ = system.solve(target, DAMPING)
    assert (plain / plain.norm() - expected / expected.norm()).norm() > 0.05


def test_equal_leverages_leave_energies_as_they_are_and_lost_walkers_count_for_nothing():
    scores, _, energies = operator(60)
    finite = torch.arange(N_WALKERS) != 3
    system = least_squares.normal_equations(scores, finite)
    target = torch.where(finite, energies, 0)
    target = torch.where(finite, target - target.sum() / finite.sum(), 0) / finite.sum() ** 0.5
    corrected = system.leave_one_out(target, 1e6)  # so much damping that nobody bends anything
    assert torch.allclose(corrected, target, atol=1e-6)
    assert system.leave_one_out(target, DAMPING)[3] == 0
