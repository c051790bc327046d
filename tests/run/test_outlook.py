"""The forecast of a run: what it says, and that the run does not notice."""

import logging
import re
from functools import partial

import pytest
import torch
from echo import Echo

from qmcnet import EvaluationSettings, FermiNet, FirstOrder, Molecule
from qmcnet.compute.team import standing_in, team
from qmcnet.run.afterwards import diffusing
from qmcnet.run.interruption import Interrupted
from qmcnet.stages import optimization
from qmcnet.stages import outlook as module
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.outlook import Outlook

SHORT = EvaluationSettings(steps=4, min_steps=4, burn_in=2)
FRESH = (
    r"forecast: pretraining 4 steps \d+ s, burn_in up to 5 steps \d+ s, optimization 5 steps \d+ s, "
    r"evaluation 4 steps \d+ s; about \d+ s in all, [\d.]+ GiB on cpu \([\d.e-]+ GiB of it predicted for a step\)"
)


@pytest.fixture
def worth(monkeypatch):
    """Every run is worth a forecast."""
    monkeypatch.setattr(module, "SHORT_RUN", 0.0)


@pytest.fixture
def said(caplog):
    """Lines of the log so far that begin with a word."""
    caplog.set_level(logging.INFO)
    return lambda word="forecast": [line for line in caplog.messages if line.startswith(word)]


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second or first != first  # nan, of a mean of nothing


def test_a_run_and_what_is_left_of_it_are_foreseen_and_notice_nothing(
    make_run, tmp_path, newest, said, stop_at, monkeypatch, any_series_is_an_estimate
):
    settings = {"batch_size": 12, "evaluation": SHORT}  # so many that sizes of chunks are chosen, and saved
    make_run(tmp_path / "without", **settings).train()
    assert said() == []
    monkeypatch.setattr(module, "SHORT_RUN", 0.0)
    stop_at(Optimization, 6)  # of which four are those of the trial, and of no run
    with pytest.raises(Interrupted):
        make_run(tmp_path / "with", **settings).train()
    assert re.fullmatch(FRESH, said()[0])
    monkeypatch.undo()
    monkeypatch.setattr(module, "SHORT_RUN", 0.0)
    make_run(tmp_path / "with", **settings).train()
    assert re.match(r"forecast: optimization 3 steps \d+ s, evaluation 4 steps \d+ s; about", said()[1])
    first, second = (newest(tmp_path / name) for name in ("without", "with"))
    assert first["simulation"]["chunks"]["laplacian"]
    assert same(first["simulation"], second["simulation"])
    assert same(first["stage_state"], second["stage_state"])
    tables = [(tmp_path / name / "train_stats.csv").read_text() for name in ("without", "with")]
    assert tables[0] == tables[1]


def test_the_state_of_a_run_is_left_alone(make_run, tmp_path, worth, said):
    run = make_run(tmp_path, batch_size=12, evaluation=SHORT)
    stages = [part.make() for part in run.parts()]
    before = [torch.get_rng_state(), *(stage.state_dict() for stage in stages)]
    simulation = run.simulation.state_dict()
    simulation["ansatz"] = {name: value.clone() for name, value in simulation["ansatz"].items()}
    Outlook(run.simulation, None).foresee(stages[0], [lambda stage=stage: stage for stage in stages[1:]])
    assert re.fullmatch(FRESH, said()[0])
    assert same(before, [torch.get_rng_state(), *(stage.state_dict() for stage in stages)])
    assert same(simulation, run.simulation.state_dict())
    assert all(parameter.grad is None for parameter in run.ansatz.parameters())


def test_a_short_run_is_not_timed(make_run, tmp_path, said, monkeypatch):
    monkeypatch.setattr(module, "seconds_of_step", lambda *_: 1 / 0)
    monkeypatch.setattr(module, "seconds_of_sweep", lambda _: 4.9 / 30)  # pretraining 4, burn-in 5, 5, evaluation 16
    run = make_run(tmp_path)
    stage, *later = [part.make for part in run.parts()]
    outlook = Outlook(run.simulation, None)
    outlook.foresee(stage(), later)
    assert said() == []
    monkeypatch.setattr(module, "seconds_of_step", lambda *_: 2.0)
    monkeypatch.setattr(module, "seconds_of_sweep", lambda _: 5.1 / 30)
    outlook.foresee(stage(), later)
    assert "optimization 5 steps 10 s, evaluation 16 steps 32 s; about 60 s in all" in said()[0]


def test_a_stage_that_may_end_early_and_one_that_is_done(make_run, tmp_path, worth, said):
    run = make_run(tmp_path, evaluation=EvaluationSettings(steps=50, target_error=1e-3))
    stages = {part.name: part.make() for part in run.parts()}
    stages["burn_in"].equilibrated, stages["optimization"].step = True, 5
    later = [lambda: stages["optimization"], lambda: stages["evaluation"]]
    Outlook(run.simulation, None).foresee(stages["burn_in"], later)
    assert said()[0].startswith("forecast: evaluation up to 50 steps")


def test_a_diffusion_that_follows_is_foreseen_too(make_run, tmp_path, worth, said):
    run = make_run(tmp_path, evaluation=SHORT)
    run.train(follows=[diffusing(run, DiffusionSettings())])
    assert "optimization 5 steps" in said()[0]
    assert re.search(r", dmc [\d.e-]+ s a step until its error is reached; more than \d+ s in all", said()[0])


class Unique(FermiNet):
    """A network that cannot be copied."""

    def __deepcopy__(self, memo):
        raise AttributeError("no copies")


class Stubborn(FirstOrder):
    """An optimiser that cannot be copied."""

    __deepcopy__ = Unique.__deepcopy__


def test_a_network_that_cannot_be_copied_is_trained_without_a_forecast(make_run, tmp_path, worth, said):
    run = make_run(tmp_path)
    network = Unique(Molecule.atom("He"), **run.ansatz.settings, dtype=torch.float64)
    run.simulation.ensemble.network = network
    Outlook(run.simulation, None).foresee(run._optimization(), [])
    assert said() == []
    assert not logging.root.manager.disable


def test_an_optimizer_that_cannot_be_copied_leaves_the_rest(make_run, tmp_path, worth, said):
    run = make_run(tmp_path, optimizer=partial(Stubborn, learning_rate=1e-3))
    Outlook(run.simulation, None).foresee(run._optimization(), [part.make for part in run.parts()[3:]])
    pattern = r"forecast: optimization 5 steps not timed, evaluation 16 steps \d+ s; more than \d+ s in all, "
    assert re.match(pattern, said()[0])


def test_who_stops_the_program_stops_the_forecast(make_run, tmp_path, worth, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "seconds_of_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path).train()
    assert not logging.root.manager.disable


def test_other_processes_hear_nothing(make_run, tmp_path, worth, said, monkeypatch):
    monkeypatch.setattr(optimization, "predicted_memory", lambda *_: None)  # by messages of shapes, which are not sent
    with standing_in(Echo(3)):
        run = make_run(tmp_path, batch_size=12)
        sent = team().messages
        Outlook(run.simulation, None).foresee(run._optimization(), [])
        assert team().messages == sent
        assert re.search(r"about \d+ s in all, [\d.]+ GiB on cpu for each of 3 processes", said()[0])


@pytest.mark.parametrize(("gain", "count"), [(1.0, 0), (1.9, 0), (30.0, 1)])
def test_a_single_thread_is_advised_where_it_is_much_faster(make_run, tmp_path, worth, said, monkeypatch, gain, count):
    monkeypatch.setattr(module, "gain_of_one_thread", lambda _: gain)
    run = make_run(tmp_path)
    Outlook(run.simulation, None).foresee(run._optimization(), [])
    lines = said("advice: threads wait")
    assert len(lines) == count
    assert all(
        "OMP_NUM_THREADS=1 before the command makes evaluations about 30 times as fast" in line for line in lines
    )


class Stage:
    """At work."""

    name, may_end_early, of_trained, open_ended = "optimization", False, False, False

    def __init__(self, left):
        self.left = left

    def finished(self):
        return False

    def progress(self):
        return 20, 20 + self.left

    def memory(self):
        return None


@pytest.fixture
def outlook(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "alternative", lambda stage, simulation, seconds: "; or else")
    monkeypatch.setattr(module, "advice", lambda simulation, total, wall_time, of_trained: ["advice"])
    found = Outlook(make_run(tmp_path).simulation, None)
    found.said["optimization"] = 1.0
    return found


@pytest.mark.parametrize(("seconds", "text"), [(0.7, "0.7"), (0.8, None), (1.29, None), (1.31, "1.31")])
def test_a_duration_is_revised_beyond_30_percent(outlook, said, seconds, text):
    outlook.look(Stage(10), seconds, "")
    expected = [f"forecast: {text} s/step instead of 1, {10 * seconds:.0f} s for 10 steps of optimization"]
    assert [line.rpartition(",")[0] for line in said()] == (expected if text else [])


def test_what_was_said_last_is_what_counts(outlook, said):
    for seconds in (2.0, 2.1, 2.5, 2.7, 2.8):
        outlook.look(Stage(10), seconds, "")
    assert [re.search(r"[\d.]+ s/step instead of \d", line)[0] for line in said()] == [
        "2 s/step instead of 1",
        "2.7 s/step instead of 2",
    ]


def test_a_long_stage_says_once_what_it_sends_and_what_else_could_be(outlook, said):
    outlook.look(Stage(100), 1.1, "; each sends")
    outlook.look(Stage(100), 1.1, "; each sends")
    (line,) = said()
    assert line.startswith("forecast: 1.1 s/step, 1.8 min for 100 steps of optimization")
    assert line.endswith("; each sends; or else")


def test_a_stage_without_a_known_end_is_said_to_be_long_when_it_is_known(outlook, said):
    stage = Stage(100)
    stage.open_ended = True
    outlook.look(stage, 1.1, "")
    assert said() == []
    stage.open_ended = False
    outlook.look(stage, 1.1, "")
    outlook.look(stage, 1.1, "")
    assert [line[:57] for line in said()] == ["forecast: 1.1 s/step, 1.8 min for 100 steps of optimizati"]


def test_a_stage_that_was_not_foreseen_is_forecast(outlook, said):
    outlook.said.clear()
    outlook.look(Stage(10), 1.0, "")
    assert said()[0].startswith("forecast: 1 s/step, 10 s for 10 steps of optimization")


def test_advice_is_given_once_over_an_hour(outlook, said):
    outlook.look(Stage(10), 300.0, "")
    assert said("advice") == []
    outlook.look(Stage(10), 400.0, "")
    outlook.look(Stage(10), 600.0, "")
    assert said("advice") == ["advice"]


def test_sweeps_that_are_not_recorded_are_not_timed(make_run, tmp_path, monkeypatch, any_series_is_an_estimate):
    looks = []
    monkeypatch.setattr(Outlook, "look", lambda self, stage, *_: looks.append((type(stage), stage.step)))
    make_run(tmp_path, evaluation=EvaluationSettings(steps=41, burn_in=9)).train()
    assert looks == [(Evaluation, 21), (Evaluation, 41)]
