import re

import pytest
import torch
from echo import Echo

from qmcnet.compute.team import standing_in, team
from qmcnet.stages import scaling
from qmcnet.stages.scaling import LONGEST, alternative, gain_of_one_thread, seconds_per_step, traffic


@pytest.fixture
def run(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "n_cores", lambda: 4)
    return make_run(tmp_path)


@pytest.fixture
def stages(run):
    return {part.name: part.make() for part in run.parts()}


@pytest.fixture
def thread_counts(monkeypatch):
    """How many threads were asked for; the number stays one, which a fork of a process with more could not bear."""
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


@pytest.mark.parametrize("name", ["pretraining", "burn_in", "optimization", "evaluation"])
def test_one_process_hears_of_as_many_as_cores_and_never_gets_more_threads(run, stages, thread_counts, name):
    simulation = run.simulation
    before = simulation.generator.get_state(), simulation.walkers.positions.clone()
    text = alternative(stages[name], simulation, 100.0)
    assert re.fullmatch(r"; with devices=4 instead of 1 it might take (1e\+02|100) s/step", text)
    assert set(thread_counts) == {1}
    assert torch.equal(simulation.generator.get_state(), before[0])
    assert torch.equal(simulation.walkers.positions, before[1])


def test_several_processes_hear_of_one_with_all_cores(run, stages, thread_counts):
    with standing_in(Echo(3)):
        messages = team().messages
        text = alternative(stages["optimization"], run.simulation, 100.0)
        assert team().messages == messages  # the others wait elsewhere
    assert text.startswith("; with devices=1 instead of 3 it might take")
    assert set(thread_counts) == {1, 4}


def test_what_is_timed_is_what_the_stage_does(run, stages, monkeypatch):
    monkeypatch.setattr(type(run.simulation), "states", lambda *_: 1 / 0)  # a pretraining has no local energies
    assert alternative(stages["pretraining"], run.simulation, 1.0)
    assert not alternative(stages["evaluation"], run.simulation, 1.0)


@pytest.mark.parametrize(("seconds", "expected"), [(10.0, "4"), (8.0, "2"), (1.0, "2")])
def test_a_share_takes_less_than_all_walkers_but_what_it_takes(run, stages, monkeypatch, seconds, expected):
    times = {1: 8.0, 4: 2.0}
    monkeypatch.setattr(scaling, "_of_walkers", lambda stage, simulation, size, n_threads: times[size])
    assert f"it might take {expected} s/step" in alternative(stages["optimization"], run.simulation, seconds)


def test_nothing_is_said_where_there_is_no_choice_or_no_memory(run, stages, monkeypatch):
    monkeypatch.setattr(scaling, "copied", lambda _: 1 / 0)
    assert alternative(stages["optimization"], run.simulation, 1.0) == ""
    monkeypatch.undo()
    monkeypatch.setattr(scaling, "n_cores", lambda: 1)
    assert alternative(stages["optimization"], run.simulation, 1.0) == ""


def test_what_a_process_sends_is_counted_for_a_step():
    assert traffic((0, 0), 10) == ""
    with standing_in(Echo(2)):
        team().messages, team().bytes = 90, 52 * 2**20
        assert traffic((10, 2**21), 20) == "; each sends 4 messages, 2.5 MiB a step"


class Stage:
    """Takes its time."""

    def __init__(self, clock, durations):
        self.clock, self.durations = clock, iter(durations)

    def advance(self):
        self.clock.now += next(self.durations)


def test_the_median_of_a_few_steps_counts_and_long_ones_are_soon_enough(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(scaling, "time", clock)
    assert seconds_per_step(Stage(clock, [50, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])) == pytest.approx(0.2)
    assert seconds_per_step(Stage(clock, [50, LONGEST + 1])) == LONGEST + 1


def test_a_single_thread_is_timed_beside_several_and_the_number_is_put_back(run, monkeypatch):
    count, counts = [2], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: count[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: (count.__setitem__(0, number), counts.append(number)))
    monkeypatch.setattr(scaling, "_of_evaluation", lambda _: {2: 6.0, 1: 0.5}[count[0]])
    assert gain_of_one_thread(run.simulation) == 12
    assert counts == [1, 2]
    count[0] = 1
    assert gain_of_one_thread(run.simulation) == 1
