"""Sweeps whose runs are jobs of submitit: its local executor, of which forks make the processes."""

import csv
import multiprocessing
import os
import signal
import sys

import pytest
from omegaconf import OmegaConf

from qmcnet.cli import sweep
from qmcnet.stages.optimization import Optimization

pytest.importorskip("submitit", reason="the slurm extra is not installed")

from submitit.core.submission import process_job
from submitit.local import local

STEP = 2
"""Step at which something happens to a run."""


class Controller:
    """Stands for the process that submitit starts for a job: starts its task, and once more where that asks for it."""

    def __init__(self, folder):
        self.process = multiprocessing.get_context("fork").Process(target=self._control, args=(folder,))
        self.process.start()
        self.pid = self.process.pid

    def poll(self):
        self.process.join(0)
        return self.process.exitcode

    def _control(self, folder):
        names = {"JOB_ID": os.getpid(), "NTASKS": 1, "JOB_NUM_NODES": 1, "NODEID": 0, "GLOBALID": 0, "LOCALID": 0}
        os.environ.update({f"SUBMITIT_LOCAL_{name}": str(value) for name, value in names.items()})
        os.environ["SUBMITIT_EXECUTOR"] = "local"
        code = local.LOCAL_REQUEUE_RETURN_CODE
        while code == local.LOCAL_REQUEUE_RETURN_CODE:
            task = multiprocessing.get_context("fork").Process(target=process_job, args=(folder,))
            task.start()
            task.join()
            code = task.exitcode
        if code < 0:
            os.kill(os.getpid(), -code)
        sys.exit(code)


@pytest.fixture
def jobs(monkeypatch, tmp_path):
    """Let a signal reach the run of a bond length once, in the middle of its optimisation."""
    record, signals = Optimization.record, dict[float, int]()

    def receive_and_record(stage, rows):
        mark = tmp_path / f"received{os.environ.get('SUBMITIT_LOCAL_JOB_ID')}"
        first, second = stage.simulation.ensemble.molecule.nuclei
        number = signals.get(round(float((first - second).norm()), 6))
        if number and stage.step == STEP and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), number)
        return record(stage, rows)

    monkeypatch.setattr(local, "start_controller", lambda folder, **_: Controller(folder))
    monkeypatch.setattr(Optimization, "record", receive_and_record)
    return signals


def swept(command_line):
    (folder,) = (command_line.folder / "jobs").glob("sweep_*")
    return {float(row["bond_length"]): row for row in csv.DictReader((folder / "sweep.csv").open())}


def test_one_job_is_refused_one_killed_one_out_of_time_and_the_same_command_fills_the_gaps(command_line, jobs):
    jobs.update({1.2: signal.SIGUSR2, 1.4: signal.SIGKILL})
    typed = ["steps=4", "evaluation.steps=10", "bond_length=1.2,1.4,-1,1.6"]
    typed += ["hydra.sweep.dir=jobs", "hydra/launcher=several"]
    status, output, errors = command_line.train(*typed, "checkpoints.seconds=0", "logging.every=1", "-m")
    assert status == 1, output + errors
    found = swept(command_line)
    said = {length: row["status"] for length, row in found.items()}
    assert [said.pop(length) for length in (1.2, 1.6)] == ["done"] * 2
    assert said.pop(-1).startswith("failed: bond_length=-1 is not a length")
    assert said.pop(1.4).startswith("failed: its job was lost: the scheduler calls it INTERRUPTED")
    assert "Traceback" not in output + errors
    log = (command_line.folder / found[1.2]["directory"] / "train.log").read_text()
    assert f"received SIGUSR2: optimization saved after step {STEP + 1}" in log
    assert f"continuing optimization after step {STEP + 1}" in log
    before = {length: (command_line.folder / row["directory"] / "result.json") for length, row in found.items()}
    before = {length: path.stat().st_mtime_ns for length, path in before.items() if path.exists()}
    jobs.clear()
    status, output, errors = command_line.train(*typed, "-m")
    assert status == 1, output + errors
    again = swept(command_line)
    assert [length for length, row in again.items() if row["status"] == "done"] == [1.2, 1.4, 1.6]
    log = (command_line.folder / again[1.4]["directory"] / "train.log").read_text()
    assert f"continuing optimization after step {STEP - 1}" in log
    for length, time in before.items():
        path = command_line.folder / again[length]["directory"] / "result.json"
        assert path.stat().st_mtime_ns == time
        assert again[length]["energy"] == found[length]["energy"]


@pytest.mark.parametrize(("launcher", "expected"), [("LocalLauncher", "1"), ("SlurmLauncher", None)])
def test_runs_side_by_side_on_one_machine_have_a_thread_each(monkeypatch, launcher, expected):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(sweep, "outlive_lost_jobs", lambda _: None)
    sweep.EndOfSweep().on_multirun_start(OmegaConf.create({"hydra": {"launcher": {"_target_": f"plugin.{launcher}"}}}))
    assert os.environ.get("OMP_NUM_THREADS") == expected
