import signal
from types import SimpleNamespace

import pytest

from qmcnet.compute.launch import STOPPING
from qmcnet.run import interruption
from qmcnet.run.interruption import EXIT_STATUS, Interrupted, Interruption
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization


def test_exit_status_is_the_one_that_schedulers_read_as_try_again():
    assert EXIT_STATUS == 75


@pytest.mark.parametrize("number", STOPPING, ids=lambda number: number.name)
def test_a_signal_is_remembered_and_its_handler_put_back(number):
    before = signal.signal(number, signal.default_int_handler)  # whatever this process was started with
    try:
        _check_that_it_is_remembered(number)
    finally:
        signal.signal(number, before)


def _check_that_it_is_remembered(number):
    before = signal.getsignal(number)
    with Interruption(None) as watch:
        assert not watch.requested()
        signal.raise_signal(number)
        assert watch.requested()
        assert watch.reason == f"received {number.name}"
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_does_not_wait_for_the_step(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interruption(None):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # at once: the same press of the keys
        monkeypatch.setattr(interruption, "time", SimpleNamespace(monotonic=lambda: 1e9))
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_handler_of_a_job_scheduler_is_called_once_the_run_is_saved():
    calls, before = [], signal.signal(signal.SIGUSR2, lambda number, frame: calls.append(number))
    try:
        with pytest.raises(Interrupted), Interruption(None):
            signal.raise_signal(signal.SIGUSR2)
            assert not calls
            raise Interrupted
        assert calls == [signal.SIGUSR2]
        with pytest.raises(ZeroDivisionError), Interruption(None):
            signal.raise_signal(signal.SIGUSR2)
            raise ZeroDivisionError
        assert calls == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interruption(None) as watch:
            signal.raise_signal(signal.SIGHUP)
            assert not watch.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interruption(None):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_wall_time_ends_a_run(monkeypatch):
    clock = iter((0.0, 40.0, 61.0))  # a real one may stand still here for as long as a busy machine likes
    monkeypatch.setattr(interruption, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    watch = Interruption(60.0)
    assert not watch.requested()
    assert watch.requested()
    assert watch.reason == "wall_time=60 s used up"


@pytest.mark.parametrize("wall_time", [0, -1.0, float("nan")])
def test_wall_time_must_be_positive(wall_time):
    with pytest.raises(ValueError, match=f"wall_time={wall_time}"):
        Interruption(wall_time)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves_it(tmp_path, make_run, newest, stop_at, number):
    stop_at(Optimization, 3, number)
    with pytest.raises(Interrupted, match=f"received {number.name}: optimization saved after step 3"):
        make_run(tmp_path).train()
    state = newest(tmp_path)
    assert (state["stage"], state["made"]["optimization"], state["stage_state"]["step"]) == ("optimization", 3, 3)
    steps = [line.split(",")[0] for line in (tmp_path / "train_stats.csv").read_text().splitlines()]
    assert steps == ["step", "1", "2", "3"]
    assert not (tmp_path / "result.json").exists()


def test_wall_time_stops_a_run_and_it_can_be_finished(tmp_path, make_run, newest):
    with pytest.raises(Interrupted, match=r"wall_time=1e-06 s used up: pretraining saved after step 1"):
        make_run(tmp_path, wall_time=1e-6).train()
    assert newest(tmp_path)["stage_state"]["step"] == 1
    assert make_run(tmp_path).train().trained_steps == 5


def test_a_signal_at_the_last_step_of_all_does_not_lose_the_result(tmp_path, make_run, stop_at):
    stop_at(Evaluation, 18)
    assert make_run(tmp_path).train().evaluation_steps == 16
