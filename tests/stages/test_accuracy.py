"""Training until the estimated distance from the exact energy is small enough."""

import json

import pytest

from qmcnet import EvaluationSettings, Schedule
from qmcnet.stages import optimization
from qmcnet.stages.pretraining import PretrainingSettings
from qmcnet.statistics.learning import Look, Points

SHORT = {
    "pretraining": PretrainingSettings(steps=0),
    "evaluation": EvaluationSettings(steps=4, min_steps=2, burn_in=0),
    "schedule": Schedule("annealed", decay_steps=None),
    "steps": 10,
}


def rates(run):
    lines = (run.directory / "train_stats.csv").read_text().splitlines()
    column = lines[0].split(",").index("learning_rate")
    return [float(line.split(",")[column]) for line in lines[1:]]


def law(monkeypatch, distance):
    """Let the estimated distance be a function of the steps made."""
    monkeypatch.setattr(Look, "points", lambda look: Points([1.0], [1.0], [float(look.sums[0].sum())]))
    monkeypatch.setattr(optimization, "distance_of", lambda points, _: distance(points.variances[-1]))


@pytest.fixture
def planned(monkeypatch):
    """Let the distance be that of the law, 12.8 mHa after ten steps."""
    law(monkeypatch, lambda steps: 12.8e-3 * (10 / steps) ** 0.5)


def test_more_steps_are_planned_until_it_is_reached_and_the_rate_rises_again(planned, make_run, tmp_path):
    run = make_run(tmp_path, accuracy=6.4e-3, **SHORT)
    result = run.train()
    assert result.trained_steps == 40
    share = rates(run)
    assert share[9] < 0.2 * share[0]
    assert share[10] == pytest.approx(share[0])
    assert share[39] < 0.05 * share[0]
    assert result.metadata["optimization"]["distance"] == pytest.approx(6.4e-3)


def test_a_run_that_is_stopped_and_continued_makes_the_same_steps(planned, make_run, tmp_path):
    whole = make_run(tmp_path / "whole", accuracy=6.4e-3, **SHORT)
    whole.train()
    resumed = make_run(tmp_path / "resumed", accuracy=12.8e-3, **SHORT)
    assert resumed.train().trained_steps == 10
    longer = make_run(tmp_path / "resumed", accuracy=6.4e-3, **SHORT)
    assert longer.train().trained_steps == 40
    assert rates(longer) == pytest.approx(rates(whole))
    energies = [(run.directory / "train_stats.csv").read_text() for run in (whole, longer)]
    assert energies[0] == energies[1]


@pytest.mark.usefixtures("planned", "any_series_is_an_estimate")
def test_a_run_that_has_reached_it_is_finished(make_run, tmp_path, caplog):
    caplog.set_level("INFO")
    first = make_run(tmp_path, accuracy=13e-3, **SHORT).train()
    again = make_run(tmp_path, accuracy=13e-3, **SHORT).train()
    assert "this run is finished" in caplog.text
    assert (again.trained_steps, again.energy) == (first.trained_steps, first.energy)


def test_too_few_steps_to_tell_ask_for_more(monkeypatch, make_run, tmp_path):
    law(monkeypatch, lambda steps: None if steps <= 10 else 1e-4)
    assert make_run(tmp_path, accuracy=1e-3, **SHORT).train().trained_steps == 40


@pytest.mark.parametrize("accuracy", [0, -1e-3, float("nan")])
def test_accuracies_that_mean_nothing_are_refused(accuracy, make_run, tmp_path):
    with pytest.raises(ValueError, match=r"accuracy=.* must be positive"):
        make_run(tmp_path, accuracy=accuracy, **SHORT)


def test_the_curve_of_a_run_is_in_its_result(make_run, tmp_path):
    run = make_run(tmp_path, **SHORT | {"steps": 80})
    run.train()
    content = json.loads((tmp_path / "result.json").read_text())
    assert len(content["optimization"]["energies"]) == len(content["optimization"]["variances"]) == 8
    assert content["typical_variance"] > 0
