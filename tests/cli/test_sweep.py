import csv
import json
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from echo import Rank
from hydra.errors import HydraException

from qmcnet.cli import sweep
from qmcnet.cli.arguments import explain
from qmcnet.compute.team import standing_in


def rows(folder):
    return list(csv.DictReader((folder / "sweep.csv").open()))


def test_a_sweep_ends_in_a_table_that_names_what_failed_and_the_same_command_fills_the_gaps(command_line):
    typed = ["steps=2", "bond_length=1.2,1.4,-1,1.8", "hydra.sweep.dir=swept", "-m"]
    status, output, errors = command_line.train(*typed)
    assert status == 1, output + errors
    (folder,) = (command_line.folder / "swept").glob("sweep_*")
    found = rows(folder)
    assert [float(row["bond_length"]) for row in found] == [1.2, 1.4, -1, 1.8]
    assert [row["status"].split(":")[0] for row in found] == ["done", "done", "failed", "done"]
    assert "failed: bond_length=-1 is not a length" in output
    assert (folder / "curve.svg").exists()
    assert (folder / "curve.png").exists()
    before = {row["directory"]: row["energy"] for row in found}
    lost = command_line.folder / found[1]["directory"]
    (lost / "result.json").unlink()
    status, output, _ = command_line.run("sweep", "swept", "--output", "again")
    assert status == 75, output  # of what was started, nothing has failed
    assert "interrupted after step 30 of evaluation" in output
    status, output, errors = command_line.train("steps=2", "bond_length=1.2,1.4,1.8", *typed[2:])
    assert status == 0, output + errors
    again = json.loads(
        (max(folder.parent.glob("sweep_*"), key=lambda path: path.stat().st_mtime) / "sweep.json").read_text()
    )
    assert {row["directory"]: f"{row['energy']}" for row in again["points"]} == {
        directory: energy for directory, energy in before.items() if energy
    }


def test_a_sweep_that_is_stopped_says_so_although_its_points_were_done_before(command_line):
    typed = ["bond_length=1.3", "hydra.sweep.dir=longer", "-m"]
    status, output, errors = command_line.train("steps=2", *typed)
    assert status == 0, output + errors
    status, output, errors = command_line.train("steps=100000", "wall_time=1", *typed)
    assert status == 75, output + errors
    assert "interrupted after step" in output.splitlines()[-2]
    status, output, errors = command_line.train("steps=2", "resume=false", *typed)
    assert status == 1, output + errors


def test_each_point_may_start_from_the_nearest_that_is_done(command_line):
    typed = ["steps=2", "bond_length=1.2,1.4,1.8", "hydra.sweep.dir=warm", "init_from=neighbour", "-m"]
    status, output, errors = command_line.train(*typed)
    assert status == 0, output + errors
    (folder,) = (command_line.folder / "warm").glob("sweep_*")
    found = rows(folder)
    sources = [yaml.safe_load((command_line.folder / row["directory"] / "config.yaml").read_text()) for row in found]
    names = [config["init_from"] and Path(config["init_from"]).name for config in sources]
    assert names == [None, *(Path(row["directory"]).name for row in found[:2])]


def test_a_folder_without_runs_is_said_in_one_line(command_line):
    (command_line.folder / "empty").mkdir()
    for folder, message in (("empty", "there is no run in empty"), ("nowhere", "nowhere is no directory")):
        status, output, errors = command_line.run("sweep", folder)
        assert status == 1
        assert message in output + errors
        assert "Traceback" not in output + errors


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_a_launcher_that_is_not_installed_is_named_with_what_to_install(command_line):
    status, output, errors = command_line.train("seed=1,2", "hydra/launcher=ray", "-m")
    assert (status, output) == (1, "")
    assert errors == "error: hydra/launcher=ray starts runs through Ray: pip install 'qmcnet[ray]'\n"


@pytest.mark.parametrize("launcher", ["slurm", "local"])
def test_launchers_of_submitit_are_named_with_what_to_install(launcher):
    error = HydraException(f"In 'hydra/launcher/mine': Could not find 'hydra/launcher/submitit_{launcher}'")
    assert "pip install 'qmcnet[slurm]'" in explain(error, [], "qmcnet-train", "config")


@pytest.mark.skipif(find_spec("submitit") is None, reason="the slurm extra is not installed")
def test_a_machine_without_slurm_is_said_in_one_line(command_line, monkeypatch):
    monkeypatch.setenv("PATH", "")
    status, output, errors = command_line.train("seed=1,2", "hydra/launcher=slurm", "-m")
    assert status == 1, output
    assert errors.startswith('error: the launcher cannot start the runs: Could not detect "srun"')
    assert "Traceback" not in output + errors


def test_processes_that_leave_a_sweep_because_of_a_failure_show_what_there_is(monkeypatch, caplog):
    shown, waited, signals = [], [], []
    monkeypatch.setattr(sweep.time, "sleep", waited.append)
    monkeypatch.setattr(sweep.signal, "signal", lambda *given: signals.append(given))
    for name, value in (("conclude", shown.append), ("begun", ["sweep"]), ("statuses", [0, 1])):
        monkeypatch.setattr(sweep, name, value)
    sweep.end_early()  # a single process goes on
    assert not shown
    for rank in range(2):
        with standing_in(Rank(rank, 2)):
            sweep.end_early()
    assert (shown, waited) == (["sweep"], [sweep.WAIT])
    assert signals == [(signal.SIGTERM, signal.SIG_IGN)]  # of torchrun, which stops all once one has left
    assert caplog.text.count("the sweep ends here") == 1
