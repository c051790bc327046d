"""Roll-backs draw new random numbers every time, and go back further where the same place fails again."""

import json
import math
import shutil

import pytest
import torch

from qmcnet import EvaluationSettings, MolecularHamiltonian
from qmcnet.run.checkpoint import Checkpoints
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.postmortem import Diverged
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization

OFTEN = {"logging": LoggingSettings(every=1), "checkpoints": CheckpointSettings(seconds=0, max_retries=3)}


@pytest.fixture
def fails_at(monkeypatch):
    """Make a stage fail at one of its steps, a number of times, and note where walkers are after the step before."""

    def install(stage, step, times):
        left, seen, advance = [times], [], stage.advance

        def advance_or_fail(self):
            row = advance(self)
            if self.step == step - 1:
                seen.append(self.simulation.walkers.positions.clone())
            if self.step == step and left[0]:
                left[0] -= 1
                return row | {"energy": math.nan}
            return row

        monkeypatch.setattr(stage, "advance", advance_or_fail)
        return seen

    return install


def different(tensors):
    return all(not torch.equal(a, b) for i, a in enumerate(tensors) for b in tensors[:i])


def went_back(caplog):
    return [record.args[0] for record in caplog.records if record.msg.startswith("going back to")]


def test_a_place_that_fails_again_is_approached_from_further_back(tmp_path, make_run, fails_at, caplog):
    seen = fails_at(Optimization, 5, times=3)
    make_run(tmp_path, steps=6, **OFTEN).train()
    # Four steps of pretraining and five of burn-in came before.
    assert went_back(caplog) == [f"00000009-optimization-{step:08d}.pt" for step in (4, 3, 2)]
    assert "retry 3 of 3" in caplog.text
    assert different(seen)  # at step 4: at first, and on the second and the third way back; the first starts there
    assert len(seen) == 3
    kept = {path.name for path in (tmp_path / "postmortem").glob("*-optimization-*.pt")}
    assert kept >= {"00000009-optimization-00000004.pt", "00000009-optimization-00000003.pt"}


def test_a_place_that_always_fails_ends_the_run_however_often_it_saves(tmp_path, make_run, fails_at, caplog):
    fails_at(Optimization, 5, times=100)
    with pytest.raises(Diverged, match="after 3 retries"):
        make_run(tmp_path, steps=6, **OFTEN).train()
    assert len(went_back(caplog)) == 3


@pytest.mark.parametrize("killed", [False, True])
def test_no_roll_back_repeats_the_random_numbers_of_another(tmp_path, make_run, monkeypatch, killed):
    """Also not after a save in between, nor after the process was killed."""
    failures, kills, advance = [2, 4], [3] * killed, Optimization.advance

    def fail_twice(self):
        row = advance(self)
        if [self.step] == failures[:1]:
            return row | {"energy": math.nan * failures.pop(0)}
        if failures == [4] and [self.step] == kills:
            raise RuntimeError(f"killed at step {kills.pop()}")
        return row

    drawn, manual_seed = [], torch.Generator.manual_seed

    class Watched(torch.Generator):
        def manual_seed(self, seed):
            drawn.append(seed)
            return manual_seed(self, seed)

    monkeypatch.setattr(Optimization, "advance", fail_twice)
    monkeypatch.setattr(torch, "Generator", Watched)
    if killed:
        with pytest.raises(RuntimeError, match="killed at step 3"):
            make_run(tmp_path, **OFTEN).train()
    make_run(tmp_path, **OFTEN).train()
    retries = [seed for seed in drawn if seed]  # positions and weights are drawn from the seed of the run, 0
    assert len(retries) == len(set(retries)) == 2
    state = Checkpoints(tmp_path / "checkpoints", 1).load_newest().state
    assert state["attempts"] == 2


def test_a_checkpoint_without_a_count_of_attempts_is_continued(tmp_path, make_run, stop_at):
    folder = tmp_path / "checkpoints"
    make_run(tmp_path, steps=2).train()
    for path in folder.glob("*.pt"):
        state = torch.load(path, weights_only=True)
        del state["attempts"]
        torch.save(state, path)
    assert make_run(tmp_path, steps=4).train().trained_steps == 4


def energies(folder):
    lines = (folder / "evaluation_stats.csv").read_text().splitlines()
    column = lines[0].split(",").index("energy")
    return [line.split(",")[column] for line in lines[1:]]


SHORT = EvaluationSettings(steps=12, min_steps=10, burn_in=2)


def test_evaluations_that_differ_in_anything_are_independent(finished, make_run):
    series = [
        make_run(finished).evaluate(SHORT, finished / "one") and finished / "one",
        make_run(finished).evaluate(SHORT, finished / "two") and finished / "two",
        make_run(finished).evaluate(SHORT) and finished / "evaluation" / "burn_in=2",
        make_run(finished, observables=["dipole"]).evaluate(SHORT) and finished / "evaluation" / "burn_in=2,dipole",
        make_run(finished).evaluate(EvaluationSettings(steps=12, min_steps=10, burn_in=3))
        and finished / "evaluation" / "burn_in=3",
        finished / "evaluation",
    ]
    found = [energy for folder in series for energy in energies(folder)]
    assert len(found) == len(set(found)) == 5 * 12 + 16


def test_the_same_evaluation_of_a_moved_run_has_the_same_numbers(finished, make_run, tmp_path):
    elsewhere = shutil.copytree(finished, tmp_path / "deep" / "elsewhere")
    assert make_run(finished).evaluate(SHORT).energy == make_run(elsewhere).evaluate(SHORT).energy


def test_a_longer_evaluation_continues_its_own(finished, make_run, tmp_path):
    elsewhere = shutil.copytree(finished, tmp_path / "elsewhere")
    longer = EvaluationSettings(steps=20, min_steps=10, burn_in=2)
    make_run(finished).evaluate(SHORT)
    first = energies(finished / "evaluation" / "burn_in=2")
    result = make_run(finished).evaluate(longer)
    assert energies(finished / "evaluation" / "burn_in=2")[:12] == first
    assert make_run(elsewhere).evaluate(longer).energy == result.energy


def test_an_evaluation_of_a_further_trained_run_is_independent(tmp_path, make_run):
    make_run(tmp_path, steps=2).train()
    make_run(tmp_path, steps=2).evaluate(SHORT, tmp_path / "again")
    first = torch.load(next((tmp_path / "again" / "checkpoints").glob("00000011-*12.pt")), weights_only=True)
    make_run(tmp_path, steps=3).train()
    make_run(tmp_path, steps=3).evaluate(SHORT, tmp_path / "again")
    second = torch.load(next((tmp_path / "again" / "checkpoints").glob("00000012-*12.pt")), weights_only=True)
    assert not torch.equal(first["simulation"]["generator"], second["simulation"]["generator"])


def test_retries_of_two_evaluations_are_independent(finished, make_run, monkeypatch):
    forward, calls = MolecularHamiltonian.forward, []

    def fail_once(self, states):
        energy = forward(self, states)
        calls.append(None)
        if len(calls) == 6:
            energy.terms["kinetic"][:] = math.nan
        return energy

    monkeypatch.setattr(MolecularHamiltonian, "forward", fail_once)
    for name in ("one", "two"):
        calls.clear()
        make_run(finished).evaluate(SHORT, finished / name)
        assert json.loads(next((finished / name / "postmortem").glob("*.json")).read_text())["stage"] == Evaluation.name
    both = [energies(finished / name) for name in ("one", "two")]
    assert not set(both[0]) & set(both[1])


def test_an_evaluation_after_more_training_is_continued_from_its_own_checkpoints(tmp_path, make_run, monkeypatch):
    def evaluate(folder):
        settings = EvaluationSettings(steps=12, min_steps=4, burn_in=2)
        return make_run(folder / "run", steps=8).load_trained().evaluate(settings, folder / "own")

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    make_run(whole / "run").train()
    make_run(whole / "run").load_trained().evaluate(EvaluationSettings(steps=40, burn_in=2), whole / "own")
    make_run(whole / "run", steps=8).train()
    shutil.copytree(whole, killed)
    expected, advance, steps = evaluate(whole), Evaluation.advance, iter(range(100))

    def dying(self):
        if next(steps) == 9:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "advance", dying)
        with pytest.raises(KeyboardInterrupt):
            evaluate(killed)
    newest = Checkpoints(killed / "own" / "checkpoints", 3).paths()[-1]
    assert newest.name.endswith("evaluation-00000006.pt")
    assert evaluate(killed).evaluation_steps == expected.evaluation_steps == 12
    tables = [(folder / "own" / "evaluation_stats.csv").read_text() for folder in (whole, killed)]
    assert tables[0] == tables[1]


def test_an_evaluation_of_other_observables_in_a_used_directory_is_refused(tmp_path, make_run):
    settings = EvaluationSettings(steps=6, min_steps=4, burn_in=2)
    make_run(tmp_path / "run").train()
    make_run(tmp_path / "run").load_trained().evaluate(settings, tmp_path / "own")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    other = make_run(tmp_path / "run", observables=["dipole"]).load_trained()
    with pytest.raises(RunDirectoryError, match="own holds another evaluation, which stays: choose another directory"):
        other.evaluate(settings, tmp_path / "own")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
