"""A run that is stopped, killed or extended gives bit for bit the numbers of one that is not."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from pytorch_optimizer import Lamb

from qmcnet import (
    AveragingSettings,
    Clipping,
    EvaluationSettings,
    FirstOrder,
    Kfac,
    PretrainingSettings,
    Schedule,
    Spring,
)
from qmcnet.training.burn_in import BurnIn
from qmcnet.training.evaluation import Evaluation
from qmcnet.training.interruption import Interrupted
from qmcnet.training.optimization import Optimization
from qmcnet.training.pretraining import Pretraining
from qmcnet.training.result import Result

TABLES = (
    "pretraining/pretraining_stats.csv",
    "burn_in/burn_in_stats.csv",
    "train_stats.csv",
    "evaluation/evaluation_stats.csv",
)
TIMES = {"wall_seconds": 0.0}
KILLED_RUN = """
import os, signal, sys
from omegaconf import OmegaConf
from qmcnet import build
from qmcnet.training import checkpoint
from qmcnet.training.optimization import Optimization
from qmcnet.training.evaluation import Evaluation

config, directory, where, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def dies_at(function):
    calls = 0
    def counted(*arguments):
        nonlocal calls
        calls += 1
        if calls == count:
            if where == "save":
                arguments[1].write(b"half a checkpoint")
                arguments[1].flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return counted

if where == "save":
    checkpoint.torch.save = dies_at(checkpoint.torch.save)
else:
    stage = {"optimization": Optimization, "evaluation": Evaluation}[where]
    stage.advance = dies_at(stage.advance)
build(OmegaConf.load(config), directory).train()
"""


def same(first, second):
    """Whether two nested states are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_equal_runs(directory, reference, newest):
    for table in TABLES:
        assert (directory / table).read_text() == (reference / table).read_text(), table
    states = [newest(run) | TIMES for run in (directory, reference)]
    assert same(*states)
    results = [Result.read(run / "result.json") for run in (directory, reference)]
    assert repr(results[0]).split("wall_seconds")[0] == repr(results[1]).split("wall_seconds")[0]
    assert results[0].metadata == results[1].metadata


def test_the_comparison_sees_another_seed(tmp_path, make_run, newest, uninterrupted):
    make_run(tmp_path, seed=1).train()
    with pytest.raises(AssertionError):
        assert_equal_runs(tmp_path, uninterrupted, newest)
    assert not same(newest(tmp_path)["simulation"], newest(uninterrupted)["simulation"])


@pytest.mark.parametrize(
    ("stage", "count"),
    [
        (Pretraining, 1),
        (Pretraining, 4),
        (BurnIn, 3),
        (BurnIn, 5),
        (Optimization, 2),
        (Optimization, 3),
        (Optimization, 5),
        (Evaluation, 2),
        (Evaluation, 14),
    ],
)
def test_stopped_and_continued(tmp_path, make_run, newest, stop_at, uninterrupted, stage, count):
    stop_at(stage, count)
    with pytest.raises(Interrupted):
        make_run(tmp_path).train()
    make_run(tmp_path).train()
    assert_equal_runs(tmp_path, uninterrupted, newest)


@pytest.mark.parametrize("kind", ["random", "cis"])
def test_pretraining_of_several_states_is_stopped_and_continued(tmp_path, make_run, newest, stop_at, kind):
    settings = {
        "network": {"n_states": 3},
        "pretraining": PretrainingSettings(steps=6, basis="6-31g", learning_rate=3e-3, excitations=kind),
        "steps": 2,
    }
    make_run(tmp_path / "reference", "Li", **settings).train()
    stop_at(Pretraining, 3)
    with pytest.raises(Interrupted):
        make_run(tmp_path / "run", "Li", **settings).train()
    make_run(tmp_path / "run", "Li", **settings).train()
    assert_equal_runs(tmp_path / "run", tmp_path / "reference", newest)


def test_pretraining_on_casscf_is_stopped_and_continued(tmp_path, make_run, newest, stop_at):
    # Of the three degenerate determinants of 2p^2, only one is a target: it must be the same after a restart.
    space = {"method": "casscf", "active_electrons": 2, "active_orbitals": 4}
    settings = {"pretraining": PretrainingSettings(steps=6, basis="6-31g", learning_rate=3e-3, **space), "steps": 2}
    make_run(tmp_path / "reference", "Be", **settings).train()
    stop_at(Pretraining, 3)
    with pytest.raises(Interrupted):
        make_run(tmp_path / "run", "Be", **settings).train()
    make_run(tmp_path / "run", "Be", **settings).train()
    assert_equal_runs(tmp_path / "run", tmp_path / "reference", newest)


def test_stopped_after_every_step(tmp_path, make_run, newest, uninterrupted):
    stops = 0
    while not (tmp_path / "result.json").exists():
        try:
            make_run(tmp_path, wall_time=1e-9).train()
        except Interrupted:
            stops += 1
    assert stops >= 4 + 5 + 5 + 43 - 4
    assert_equal_runs(tmp_path, uninterrupted, newest)


SETTINGS = {
    "adam": {"optimizer": lambda ansatz: FirstOrder(ansatz, learning_rate=1e-2), "schedule": Schedule(decay_steps=3)},
    "lamb": {"optimizer": lambda ansatz: FirstOrder(ansatz, method=Lamb), "schedule": Schedule("cosine", 9, 2)},
    "prime_sr": {"optimizer": lambda ansatz: Spring(ansatz, momentum=None)},
    "minsr": {"optimizer": lambda ansatz: Spring(ansatz, momentum=0.0), "clipping": Clipping(3.0, "mean", "tanh")},
    "kfac": {"optimizer": lambda ansatz: Kfac(ansatz, inverse_every=2), "averaging": AveragingSettings("exponential")},
    "equal weights": {"averaging": AveragingSettings("equal", start=1)},
    "complex": {"network": {"complex": True, "jastrow": "cusp"}},
    "complex, kfac": {"network": {"complex": True}, "optimizer": Kfac},
    "no pretraining": {"pretraining": PretrainingSettings(steps=0)},
    "float32, odd sizes": {
        "network": {
            "n_layers": 2,
            "hidden_one": 37,
            "hidden_two": 11,
            "envelope": "diagonal",
            "jastrow": "cusp",
            "dtype": torch.float32,
        },
        "batch_size": 33,
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_stopped_and_continued_with_other_settings(tmp_path, make_run, newest, stop_at, name):
    directory, reference = tmp_path / "stopped", tmp_path / "whole"
    settings = SETTINGS[name]
    make_run(reference, **settings).train()
    stop_at(Optimization, 3)
    with pytest.raises(Interrupted):
        make_run(directory, **settings).train()
    make_run(directory, **settings).train()
    tables = [path.relative_to(reference) for path in reference.rglob("*_stats.csv")]
    assert len(tables) >= 3
    for table in tables:
        assert (directory / table).read_text() == (reference / table).read_text()
    assert same(newest(directory) | TIMES, newest(reference) | TIMES)


def test_killed_and_run_again(tmp_path, make_run, newest, uninterrupted):
    directory, config, script = tmp_path / "run", tmp_path / "config.yaml", tmp_path / "run.py"
    config.write_text(yaml.safe_dump(make_run(directory).config))
    script.write_text(KILLED_RUN)
    for where, count in [("save", 3), ("optimization", 4), ("evaluation", 15)]:
        command = [sys.executable, str(script), str(config), str(directory), where, str(count)]
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert finished.returncode == -signal.SIGKILL, finished.stderr
        assert not (directory / "result.json").exists()
        halves = [path for path in (directory / "checkpoints").iterdir() if path.name.endswith(".partial")]
        assert len(halves) == (where == "save")
    make_run(directory).train()
    assert_equal_runs(directory, uninterrupted, newest)


@pytest.mark.parametrize("damaged", [1, 2])
def test_continued_from_before_damaged_checkpoints(tmp_path, make_run, newest, stop_at, uninterrupted, caplog, damaged):
    stop_at(Optimization, 5)
    with pytest.raises(Interrupted, match="evaluation"):
        make_run(tmp_path).train()
    for path in sorted((tmp_path / "checkpoints").glob("*.pt"))[-damaged:]:
        path.write_bytes(path.read_bytes()[:1000])
    make_run(tmp_path).train()
    assert caplog.text.count("cannot be read") == damaged
    assert_equal_runs(tmp_path, uninterrupted, newest)


def test_extended(tmp_path, make_run, newest):
    directory, reference = tmp_path / "extended", tmp_path / "at once"
    short = make_run(directory, steps=5).train()
    extended = make_run(directory, steps=10).train()
    at_once = make_run(reference, steps=10).train()
    assert (short.trained_steps, extended.trained_steps) == (5, 10)
    assert extended.energy == at_once.energy != short.energy
    assert_equal_runs(directory, reference, newest)
    assert Result.read(directory / "result-00000005-000040.json") == short


def test_stopped_while_extended(tmp_path, make_run, newest, stop_at):
    directory, reference = tmp_path / "extended", tmp_path / "at once"
    make_run(reference, steps=10).train()
    make_run(directory, steps=5).train()
    stop_at(Optimization, 3)
    with pytest.raises(Interrupted, match="optimization saved after step 8"):
        make_run(directory, steps=10).train()
    assert make_run(directory, steps=5).train().trained_steps == 5
    make_run(directory, steps=10).train()
    assert_equal_runs(directory, reference, newest)


def test_wall_seconds_add_up_over_interruptions(tmp_path, make_run, newest, stop_at):
    stop_at(Optimization, 3)
    with pytest.raises(Interrupted):
        make_run(tmp_path).train()
    first = newest(tmp_path)["wall_seconds"]
    run = make_run(tmp_path)
    result = run.train()
    assert first > 0
    assert result.wall_seconds > first
    assert newest(tmp_path)["wall_seconds"] <= result.wall_seconds


def test_evaluation_is_resumed_in_its_own_directory(tmp_path, make_run, stop_at, uninterrupted):
    settings = EvaluationSettings(steps=40, min_steps=10, burn_in=3)
    reference, directory = (shutil.copytree(uninterrupted, tmp_path / name) for name in ("whole", "stopped"))
    whole = make_run(reference).evaluate(settings)
    stop_at(Evaluation, 21)
    with pytest.raises(Interrupted):
        make_run(directory).evaluate(settings)
    resumed = make_run(directory).evaluate(settings)
    place = f"evaluation/{settings.label(True, [])}/evaluation_stats.csv"
    assert (reference / place).read_text() == (directory / place).read_text()
    assert resumed.energy == whole.energy
