import logging
import os
import sys
from types import SimpleNamespace

import pytest
import torch
from echo import Rank
from hydra.errors import ConfigCompositionException
from yaml import YAMLError

from qmcnet.cli import status
from qmcnet.cli.status import leave_if_failed, outcome, quiet_streams, run_jobs
from qmcnet.compute.processes import PeerLost
from qmcnet.compute.team import standing_in
from qmcnet.run.interruption import EXIT_STATUS, Interrupted
from qmcnet.run.postmortem import Diverged


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["qmcnet-train"])
    yield
    logging.captureWarnings(False)


def raising(error):
    def task():
        raise error

    return task


@pytest.mark.parametrize(("succeeded", "status"), [(True, 0), (False, 1)])
def test_a_result_is_shown_and_only_an_estimate_counts_as_done(succeeded, status, caplog):
    caplog.set_level(logging.INFO)
    assert outcome(lambda: SimpleNamespace(summary=lambda: "energy -1", succeeded=succeeded)) == status
    assert caplog.messages == ["energy -1"]


def test_an_orderly_stop_is_75_and_says_how_to_continue(caplog):
    assert outcome(raising(Interrupted("received SIGTERM: saved"))) == 75
    assert caplog.messages == [
        "received SIGTERM: saved. The same command continues, without resume=false if that was given."
    ]


@pytest.mark.parametrize("error", [ValueError("steps=-1 is bad"), Diverged("steps=-1 is bad")])
def test_an_error_of_the_user_is_one_line(error, caplog):
    caplog.set_level(logging.INFO)
    assert outcome(raising(error)) == 1
    assert caplog.messages == ["error: steps=-1 is bad"]


def test_an_error_of_ours_keeps_its_traceback(caplog):
    assert outcome(raising(RuntimeError("broken"))) == 1
    assert "Traceback" in caplog.text
    assert "RuntimeError: broken" in caplog.text


@pytest.mark.parametrize(
    ("statuses", "status"), [([0], 0), ([0, 1], 1), ([1, 0], 1), ([0, 75], 75), ([1, 75, 0], 75), ([], 1)]
)
def test_the_status_that_matters_most_is_that_of_the_command(statuses, status):
    collected = []
    with pytest.raises(SystemExit) as exit_:
        run_jobs(lambda: collected.extend(statuses), collected)
    assert exit_.value.code == status


def test_a_message_of_hydra_becomes_one_line_without_its_search_path():
    message = (
        "Could not find 'system/Xx'\n\nAvailable options in 'system':\n\tH\n\tHe\nConfig search path:\n\tprovider=hydra"
    )
    with pytest.raises(SystemExit) as exit_:
        run_jobs(raising(ConfigCompositionException(message)), [])
    assert exit_.value.code == "error: system=Xx: system is one of H, He"
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(28, "No space left on device", "a/b.pt"),
            "No space left on device: a/b.pt. The same command continues",
        ),
        (OSError(17, "File exists", "notes"), "File exists: notes"),
        (PermissionError(13, "Permission denied", "x"), "Permission denied: x. The same command continues"),
        (MemoryError(), "out of memory: lower batch_size, laplacian.chunk_size, optimizer.chunk_size or the network"),
        (torch.OutOfMemoryError("no room"), "out of memory: lower batch_size"),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes"
            ),
            "out of memory (8.0 GiB at once): lower batch_size",
        ),
    ],
)
def test_what_a_machine_lacks_is_one_line(error, line, caplog):
    assert outcome(raising(error)) == 1
    (message,) = caplog.messages
    assert message.startswith(f"error: {line}")
    assert "\n" not in message


def test_a_second_ctrl_c_is_no_traceback(caplog):
    assert outcome(raising(KeyboardInterrupt())) == 75
    assert caplog.messages == [
        "stopped in the middle of a step. The same command continues from the newest checkpoint."
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_reader_that_goes_away_is_no_message(fork, tmp_path):
    status, _, errors = fork(print_to_nobody, folder=tmp_path).wait()
    assert (status, errors) == (0, "")


def print_to_nobody():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    sys.stdout = os.fdopen(1, "w")
    with quiet_streams():
        print("to nobody")
    sys.stdout.flush()  # as Python does at its end


@pytest.mark.parametrize("error", [ConfigCompositionException("a"), ValueError("b"), YAMLError("c"), OSError("d")])
def test_of_several_processes_the_first_alone_says_what_is_wrong(error, monkeypatch, capsys):
    def job():
        raise error

    monkeypatch.setattr(sys, "argv", ["qmcnet-train"])
    codes = []
    for rank in range(2):
        monkeypatch.setattr(status, "joined", lambda rank=rank: standing_in(Rank(rank, 2)))
        with pytest.raises(SystemExit) as end:
            run_jobs(job, [])
        codes.append(end.value.code)
    assert codes[0].startswith("error: ")
    assert codes[1] == 1
    assert capsys.readouterr() == ("", "")


def test_several_processes_leave_a_sweep_when_a_job_has_failed():
    leave_if_failed([0, 1])  # a single process goes on
    with standing_in(Rank(1, 2)):
        leave_if_failed([0, 75])
        with pytest.raises(SystemExit) as end:
            leave_if_failed([0, 1])
    assert end.value.code == 1


@pytest.mark.parametrize(
    ("error", "note"),
    [(ValueError("steps=-1"), "steps=-1"), (RuntimeError("cut"), "internal error: RuntimeError('cut')")],
)
def test_a_process_that_fails_leaves_a_note_for_the_others(error, note, monkeypatch):
    notes = []
    monkeypatch.setattr(Rank, "fails", lambda self, reason: notes.append(reason))
    with standing_in(Rank(1, 2)):
        assert outcome(raising(error)) == 1
        assert outcome(raising(PeerLost("gone"))) == 1
    assert notes == [note, None]


def test_a_run_that_a_scheduler_will_not_queue_again_is_left_to_be_continued(caplog):
    def task():
        try:
            raise Interrupted("received SIGUSR2: optimization saved after step 3")
        except Interrupted as stop:
            raise RuntimeError("Job not requeued because: timed-out too many times.") from stop

    assert outcome(task) == EXIT_STATUS
    assert "timed-out too many times. The same command continues." in caplog.text
