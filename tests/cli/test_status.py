import logging
import os
from types import SimpleNamespace

import pytest
from hydra.errors import ConfigCompositionException

from qmcnet.cli.status import outcome, run_jobs
from qmcnet.training.interruption import Interrupted
from qmcnet.training.postmortem import Diverged


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    yield
    logging.captureWarnings(False)


def raising(error):
    def task():
        raise error

    return task


@pytest.mark.parametrize(("stationary", "status"), [(True, 0), (False, 1)])
def test_a_result_is_shown_and_only_an_estimate_counts_as_done(stationary, status, caplog):
    caplog.set_level(logging.INFO)
    assert (
        outcome(lambda: SimpleNamespace(summary=lambda: "energy -1", stationary=stationary, evaluation_steps=9))
        == status
    )
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
