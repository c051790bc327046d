import re

import pytest
import torch
from echo import Echo

from qmcnet.compute.team import standing_in, team
from qmcnet.stages import scaling
from qmcnet.stages.scaling import LONGEST, alternative, seconds_per_step, traffic


@pytest.fixture
def simulation(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "n_cores", lambda: 4)
    return make_run(tmp_path).simulation


@pytest.fixture
def thread_counts(monkeypatch):
    """How many threads were asked for; the number stays one, which a fork of a process with more could not bear."""
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


def test_one_process_hears_of_as_many_as_cores_and_never_gets_more_threads(simulation, thread_counts):
    before = simulation.generator.get_state(), simulation.walkers.positions.clone()
    text = alternative(simulation, 100.0)
    assert re.fullmatch(r"; with devices=4 instead of 1 it might take (1e\+02|100) s/step", text)
    assert set(thread_counts) == {1}
    assert torch.equal(simulation.generator.get_state(), before[0])
    assert torch.equal(simulation.walkers.positions, before[1])


def test_several_processes_hear_of_one_with_all_cores(simulation, thread_counts):
    with standing_in(Echo(3)):
        messages = team().messages
        text = alternative(simulation, 100.0)
        assert team().messages == messages  # the others wait elsewhere
    assert text.startswith("; with devices=1 instead of 3 it might take")
    assert set(thread_counts) == {1, 4}


def test_a_share_takes_less_than_all_walkers(simulation, monkeypatch):
    times = {1: 8.0, 4: 2.0}
    monkeypatch.setattr(scaling, "_moves_and_energies", lambda simulation, size, n_threads: times[size])
    assert "it might take 4 s/step" in alternative(simulation, 10.0)


def test_nothing_is_said_where_there_is_no_choice_or_no_memory(simulation, monkeypatch):
    monkeypatch.setattr(simulation.laplacian, "size_of_chunk", lambda *_: 1 / 0)
    assert alternative(simulation, 1.0) == ""
    monkeypatch.undo()
    monkeypatch.setattr(scaling, "n_cores", lambda: 1)
    assert alternative(simulation, 1.0) == ""


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
