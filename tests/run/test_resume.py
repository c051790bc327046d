"""A run that is stopped, killed or extended gives bit for bit the numbers of one that is not."""

import os
import shutil
import signal

import members
import pytest
import torch
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
from qmcnet.report.result import Result
from qmcnet.run import checkpoint
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.pretraining import Pretraining

TIMES = {"wall_seconds": 0.0}
SHORT = EvaluationSettings(steps=8, min_steps=4, burn_in=2)

TRAINING = [stage for stage in members.stages() if stage is not Diffusion]


def killed_run(make_run, directory, where, count):
    """Train until a step of a stage, or the middle of writing a checkpoint, kills this process."""
    calls = iter(range(1, 10**6))

    def dies_at(function):
        def counted(*arguments):
            if next(calls) == count:
                if where == "save":
                    arguments[1].write(b"half a checkpoint")
                    arguments[1].flush()
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return counted

    if where == "save":
        checkpoint.torch.save = dies_at(checkpoint.torch.save)
    else:
        where.advance = dies_at(where.advance)
    make_run(directory).train()


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
    tables = [table.relative_to(reference) for table in reference.rglob("*_stats.csv")]
    assert {table.name for table in tables} == {stage.table for stage in TRAINING}
    for table in tables:
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
        *((stage, 3) for stage in TRAINING),
        (Evaluation, 9),
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
        "evaluation": SHORT,
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
    pretraining = PretrainingSettings(steps=6, basis="6-31g", learning_rate=3e-3, **space)
    settings = {"pretraining": pretraining, "evaluation": SHORT, "steps": 2}
    make_run(tmp_path / "reference", "Be", **settings).train()
    stop_at(Pretraining, 3)
    with pytest.raises(Interrupted):
        make_run(tmp_path / "run", "Be", **settings).train()
    make_run(tmp_path / "run", "Be", **settings).train()
    assert_equal_runs(tmp_path / "run", tmp_path / "reference", newest)


def test_stopped_after_every_step(tmp_path, make_run, newest):
    whole, stopped, stops = tmp_path / "whole", tmp_path / "stopped", 0
    make_run(whole, evaluation=SHORT).train()
    while not (stopped / "result.json").exists():
        try:
            make_run(stopped, evaluation=SHORT, wall_time=1e-9).train()
        except Interrupted:
            stops += 1
    assert stops >= 4 + 5 + 5 + 10 - 4
    assert_equal_runs(stopped, whole, newest)


SETTINGS = {
    "lamb": {"optimizer": lambda ansatz: FirstOrder(ansatz, method=Lamb), "schedule": Schedule("cosine", 9, 2)},
    "prime_sr, equal weights": {
        "optimizer": lambda ansatz: Spring(ansatz, momentum=None),
        "averaging": AveragingSettings("equal", start=1),
    },
    "minsr, no pretraining": {
        "optimizer": lambda ansatz: Spring(ansatz, momentum=0.0),
        "clipping": Clipping(3.0, "mean", "tanh"),
        "pretraining": PretrainingSettings(steps=0),
    },
    "kfac": {"optimizer": lambda ansatz: Kfac(ansatz, inverse_every=2), "averaging": AveragingSettings("exponential")},
    "complex": {"network": {"complex": True, "jastrow": "cusp"}, "schedule": Schedule(decay_steps=3)},
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
    settings = SETTINGS[name] | {"evaluation": SHORT}
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


def test_killed_and_run_again(tmp_path, make_run, newest, uninterrupted, fork):
    for where, count in [("save", 3), (Optimization, 4), (Evaluation, 10)]:
        status, _, errors = fork(killed_run, make_run, tmp_path, where, count).wait()
        assert status == -signal.SIGKILL, errors
        assert not (tmp_path / "result.json").exists()
        halves = [path for path in (tmp_path / "checkpoints").iterdir() if path.name.endswith(".partial")]
        assert len(halves) == (where == "save")
    make_run(tmp_path).train()
    assert_equal_runs(tmp_path, uninterrupted, newest)


@pytest.mark.parametrize("damaged", [1, 2])
def test_continued_from_before_damaged_checkpoints(tmp_path, make_run, newest, stop_at, uninterrupted, caplog, damaged):
    stop_at(Optimization, 5)
    with pytest.raises(Interrupted, match="evaluation"):
        make_run(tmp_path).train()
    for path in checkpoint.Checkpoints(tmp_path / "checkpoints", 1).paths()[-damaged:]:
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
    assert Result.read(directory / "result-00000005-000016.json") == short


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
    settings = EvaluationSettings(steps=16, min_steps=6, burn_in=2)
    reference, directory = (shutil.copytree(uninterrupted, tmp_path / name) for name in ("whole", "stopped"))
    whole = make_run(reference).evaluate(settings)
    stop_at(Evaluation, 9)
    with pytest.raises(Interrupted):
        make_run(directory).evaluate(settings)
    resumed = make_run(directory).evaluate(settings)
    place = f"evaluation/{settings.label(True, [])}/evaluation_stats.csv"
    assert (reference / place).read_text() == (directory / place).read_text()
    assert resumed.energy == whole.energy
