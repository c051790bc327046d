"""Run directories of every released version load, resume, extend and evaluate; `make.py` made them."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from qmcnet.config.build import build, load, stored_config
from qmcnet.training.evaluation import EvaluationSettings

VERSION = Path(__file__).parent / "0.1"
INTERRUPTED = sorted(path for path in VERSION.glob("*/*") if path.name != "finished")
FINISHED = sorted(VERSION.glob("*/finished"))


def named(path):
    return f"{path.parent.name}-{path.name}"


def rows(path):
    with open(path) as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def copied(directory, tmp_path, **settings):
    copy = shutil.copytree(directory, tmp_path / "run")
    return build(stored_config(copy) | settings, copy)


@pytest.mark.parametrize("directory", INTERRUPTED, ids=named)
def test_an_interrupted_run_ends_as_it_would_have(directory, tmp_path):
    result = copied(directory, tmp_path).train()
    assert result.trained_steps == 7
    whole, resumed = (rows(path / "train_stats.csv") for path in (directory.with_name("finished"), tmp_path / "run"))
    assert len(resumed) == len(whole)
    for expected, found in zip(whole, resumed, strict=True):
        for name in expected:
            assert found[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("directory", FINISHED, ids=named)
def test_a_finished_run_loads_prints_its_result_extends_and_evaluates(directory, tmp_path):
    found = copied(directory, tmp_path).train()
    assert found.trained_steps == 7
    assert build(stored_config(tmp_path / "run") | {"steps": 9}, tmp_path / "run").train().trained_steps == 9
    run = load(tmp_path / "run", "cpu")
    points = torch.randn(4, 2 * getattr(run.simulation.ansatz, "n_states", 1), 3, dtype=torch.float64)
    assert run.simulation.ansatz(points)[1].isfinite().all()
    assert run.evaluate(EvaluationSettings(steps=20, min_steps=5, burn_in=2)).evaluation_steps == 20
