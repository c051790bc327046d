import csv
import json
import math

import numpy as np
import pytest
import torch

from qmcnet import EvaluationSettings
from qmcnet.training.directory import RunDirectoryError
from qmcnet.training.evaluation import Evaluation
from qmcnet.training.interruption import Interrupted
from qmcnet.training.optimization import Optimization
from qmcnet.training.pretraining import Pretraining

STEPS, WALKERS = 200, 16


@pytest.fixture
def evaluation(tmp_path, make_run):
    return Evaluation(make_run(tmp_path).simulation, EvaluationSettings(steps=STEPS))


@pytest.fixture
def noise():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(STEPS, WALKERS, generator=generator, dtype=torch.float64)


def rows(path):
    return list(csv.DictReader(path.open()))


def test_a_stationary_series_is_used_whole(evaluation, noise):
    evaluation.series = list(noise.unbind())
    result, discarded, nonfinite = evaluation.estimate()
    assert (result.stationary, discarded, nonfinite) == (True, 0, 0)
    assert result.mean == pytest.approx(noise.mean().item())


@pytest.mark.parametrize(("transient", "discarded"), [(30, 50), (80, 100)])
def test_a_transient_at_the_start_is_discarded(evaluation, noise, transient, discarded):
    noise[:transient] += torch.linspace(5, 1, transient, dtype=torch.float64)[:, None]
    evaluation.series = list(noise.unbind())
    result, left_out, _ = evaluation.estimate()
    assert (result.stationary, left_out) == (True, discarded)
    assert result.mean == pytest.approx(noise[discarded:].mean().item())


def test_a_drift_over_the_whole_series_is_no_estimate(evaluation, noise):
    evaluation.series = list((noise + torch.linspace(0, 5, STEPS, dtype=torch.float64)[:, None]).unbind())
    assert not evaluation.estimate()[0].stationary


@pytest.mark.parametrize(("discarded", "energy"), [(0, -1.0), (4, -5 / 3), (8, -3.0)])
def test_the_spectrum_leaves_out_what_the_energy_does(evaluation, discarded, energy):
    evaluation.step = 16
    matrices = torch.ones(WALKERS, 1, 1, 1, dtype=torch.float64)
    for value in [1.0] * 8 + [-3.0] * 8:
        evaluation.averages.add({"energy": value * matrices, "kinetic": matrices})
    (state,) = evaluation.spectrum(discarded).states
    assert state["energy"]["value"] == pytest.approx(energy)


def test_walkers_that_were_ever_not_finite_are_left_out(evaluation, noise):
    poisoned = noise.clone()
    poisoned[3, 2], poisoned[4, 2], poisoned[7, 5] = math.nan, math.inf, -math.inf
    evaluation.series = list(poisoned.unbind())
    result, _, nonfinite = evaluation.estimate()
    kept = [walker for walker in range(WALKERS) if walker not in (2, 5)]
    assert (result.n_walkers, nonfinite) == (14, 3)
    assert result.mean == pytest.approx(noise[:, kept].mean().item())
    assert np.isnan(evaluation.local_energies()).sum() == 3


def test_if_no_walker_is_left_there_is_no_estimate(evaluation, noise):
    noise.fill_diagonal_(math.nan)
    evaluation.series = list(noise.unbind())
    result, _, nonfinite = evaluation.estimate()
    assert not result.stationary
    assert "finite" in result.reason
    assert nonfinite == WALKERS


def test_parameters_and_widths_are_frozen_while_recording(finished, make_run, newest):
    run = make_run(finished).load_trained()
    before = {name: value.clone() for name, value in run.ansatz.state_dict().items()}
    trained_width = run.simulation.walkers.width.item()
    run.evaluate(EvaluationSettings(steps=30, min_steps=10, burn_in=5), finished / "again")
    state = newest(finished / "again")
    assert all(torch.equal(state["simulation"]["ansatz"][name], value) for name, value in before.items())
    table = rows(finished / "again" / "evaluation_stats.csv")
    assert [int(row["step"]) for row in table] == list(range(1, 31))
    widths = {float(row["width"]) for row in table}
    assert len(widths) == 1
    assert widths != {trained_width}


@pytest.mark.parametrize(("min_steps", "made"), [(50, 50), (60, 100), (1, 50)])
def test_the_error_target_ends_the_evaluation(uninterrupted, tmp_path, make_run, min_steps, made):
    settings = EvaluationSettings(steps=150, target_error=100.0, min_steps=min_steps, burn_in=2)
    result = make_run(uninterrupted).evaluate(settings, tmp_path)
    assert result.evaluation_steps == made
    assert result.standard_error < 100


def test_an_error_target_out_of_reach_ends_at_the_step_limit(uninterrupted, tmp_path, make_run):
    settings = EvaluationSettings(steps=60, target_error=1e-9, min_steps=1, burn_in=2)
    assert make_run(uninterrupted).evaluate(settings, tmp_path).evaluation_steps == 60


def test_an_evaluation_has_its_own_directory_and_leaves_the_run_alone(finished, make_run):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    settings = EvaluationSettings(steps=20, target_error=0.5, min_steps=10, burn_in=2)
    result = make_run(finished).evaluate(settings)
    folder = finished / "evaluation" / "burn_in=2"
    content = json.loads((folder / "result.json").read_text())
    assert (content["energy"], content["trained_steps"]) == (result.energy, 5)
    assert all(path.read_bytes() == old for path, old in before.items())


def test_an_evaluation_takes_random_numbers_of_its_own(finished, make_run):
    make_run(finished).evaluate(EvaluationSettings(steps=40, min_steps=10, burn_in=3), finished / "again")
    first, second = (
        rows(finished / "evaluation" / "evaluation_stats.csv"),
        rows(finished / "again" / "evaluation_stats.csv"),
    )
    assert len(first) == len(second)
    assert not {row["energy"] for row in first} & {row["energy"] for row in second}


def test_a_finished_evaluation_is_not_repeated(finished, make_run, monkeypatch):
    settings = EvaluationSettings(steps=40, min_steps=10, burn_in=3)
    first = make_run(finished).evaluate(settings)
    monkeypatch.setattr(Evaluation, "advance", lambda _: pytest.fail("computed again"))
    assert make_run(finished).evaluate(settings).energy == first.energy


@pytest.mark.parametrize("stage", [None, Pretraining])
def test_a_run_that_is_not_trained_is_refused(tmp_path, make_run, stop_at, stage):
    if stage is not None:
        stop_at(stage, 2)
        with pytest.raises(Interrupted):
            make_run(tmp_path).train()
    with pytest.raises(RunDirectoryError, match="no trained wavefunction yet; finish qmcnet-train first"):
        make_run(tmp_path).evaluate(EvaluationSettings(steps=10))


def test_a_further_trained_run_is_evaluated_anew(tmp_path, make_run, stop_at):
    settings = EvaluationSettings(steps=20, min_steps=10, burn_in=2)
    make_run(tmp_path, steps=2).train()
    first = make_run(tmp_path, steps=2).evaluate(settings, tmp_path / "again")
    make_run(tmp_path, steps=4).train()
    second = make_run(tmp_path, steps=4).evaluate(settings, tmp_path / "again")
    assert (first.trained_steps, second.trained_steps) == (2, 4)
    assert (tmp_path / "again" / "result-00000002-000020.json").exists()


def test_evaluation_can_be_turned_off(tmp_path, make_run, monkeypatch):
    monkeypatch.setattr(Evaluation, "advance", lambda _: pytest.fail("evaluated"))
    result = make_run(tmp_path, evaluation=EvaluationSettings(steps=0)).train()
    assert (result.energy, result.trained_steps, result.evaluation_steps) == (None, 5, 0)
    assert "nothing was recorded" in result.summary()
    json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"steps": -1}, "steps, min_steps, burn_in >= 0"), ({"target_error": 0.0}, "target_error=0.0")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**settings)


def test_optimization_comes_before_evaluation():
    assert Pretraining.order < Optimization.order < Evaluation.order
