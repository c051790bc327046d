"""Run directories of every released version load, resume, extend and evaluate; `make.py` made them."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from qmcnet.config.build import build, load
from qmcnet.run.directory import read_config
from qmcnet.stages.evaluation_settings import EvaluationSettings

VERSION = Path(__file__).parent / "0.1"
INTERRUPTED = sorted(
    path
    for path in VERSION.glob("*/*")
    if path.name == "optimization" or (path.name != "finished" and path.parent.name in ("one_state", "two_states"))
)
FINISHED = sorted(VERSION.glob("*/finished"))
SAMPLED = ("step", "energy", "kinetic", "potential", "variance", "pmove", "width", "log_prob")
WINDOW = "a walker far off counts for 20 median deviations when energies are clipped"
CHANGED = {"prime_sr": "its momentum ends at 0.99", "one_state": WINDOW, "two_states": WINDOW}
"""Runs whose updates have other numbers since, on purpose."""


def named(path):
    return f"{path.parent.name}-{path.name}"


def rows(path):
    with open(path) as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def copied(directory, tmp_path, **settings):
    copy = shutil.copytree(directory, tmp_path / "run")
    return build(read_config(copy) | settings, copy)


@pytest.mark.parametrize("directory", INTERRUPTED, ids=named)
def test_an_interrupted_run_ends_as_it_would_have(directory, tmp_path):
    done = len(rows(directory / "train_stats.csv")) if (directory / "train_stats.csv").exists() else 0
    assert copied(directory, tmp_path).train().trained_steps == 7
    whole, resumed = (rows(path / "train_stats.csv") for path in (directory.with_name("finished"), tmp_path / "run"))
    assert [list(row) for row in resumed[:done]] == [list(row) for row in whole[:done]]
    assert len(resumed) == len(whole)
    changed = directory.parent.name in CHANGED
    for step, (expected, found) in enumerate(zip(whole, resumed, strict=True)):
        # What is sampled first after a restart follows from what was restored alone.
        names = [] if changed and step > done else SAMPLED if changed and step == done else expected
        assert {name: found[name] for name in names} == pytest.approx(
            {name: expected[name] for name in names}, rel=1e-6, abs=1e-9
        )


@pytest.mark.parametrize("directory", FINISHED, ids=named)
def test_a_finished_run_loads_extends_and_evaluates(directory, tmp_path):
    assert copied(directory, tmp_path).train().trained_steps == 7
    config = read_config(tmp_path / "run")
    config["evaluation"]["steps"] = 12
    assert build(config | {"steps": 9}, tmp_path / "run").train().trained_steps == 9
    run = load(tmp_path / "run", "cpu")
    points = torch.randn(4, 2 * run.n_states, 3, dtype=torch.float64)
    assert run.simulation.ensemble(points)[1].isfinite().all()
    assert run.evaluate(EvaluationSettings(steps=10, min_steps=5, burn_in=2)).evaluation_steps == 10
