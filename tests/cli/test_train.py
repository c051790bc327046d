import csv
import json
import os
import re
import shutil
import signal
import time

import pytest

from qmcnet.compute.crew import n_cores


@pytest.fixture(scope="module")
def finished(command_line):
    status, output, errors = command_line.train("steps=25", "hydra.run.dir=finished")
    assert status == 0, output + errors
    return command_line.folder / "finished", output, errors


def content(directory):
    """Everything in a run directory but the log, to which each start adds a line."""
    return {
        path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "train.log"
    }


def test_a_run_directory_holds_what_is_promised(finished):
    directory = finished[0]
    for name in (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "config.yaml", "train.log"):
        assert (directory / name).stat().st_size > 0
    rows = list(csv.reader((directory / "train_stats.csv").open()))
    assert rows[0][:5] == ["step", "energy", "ewmean", "ewvar", "pmove"]
    assert [int(row[0]) for row in rows[1:]] == list(range(1, 26))
    assert list(directory.glob("events.out.tfevents.*"))
    assert list((directory / "checkpoints").glob("*.pt"))
    assert (directory / "evaluation").is_dir()


def test_the_result_is_that_of_the_settings(finished):
    result = json.loads((finished[0] / "result.json").read_text())
    assert result["trained_steps"] == 25
    assert result["evaluation_steps"] == 30
    assert result["standard_error"] > 0
    assert abs(result["geometry"]["bohr"][1][2] - 1.4) < 1e-12
    assert f"energy           {result['energy']:.6f} +- {result['standard_error']:.6f} hartree" in finished[1]


def test_the_output_echoes_the_run_and_forecasts_its_end(finished):
    directory, output, _ = finished
    lines = output.splitlines()
    assert lines[0] == "H2: charge 0, spin 0, 2 electrons (1 up, 1 down)"
    assert "nearest neighbours 1.400000 bohr = 0.740848 angstrom apart" in lines
    assert f"directory        {directory}" in lines
    assert any(re.match(r"ansatz +FermiNet, states: 1, parameters: \d+$", line) for line in lines)
    assert any("s/step" in line for line in lines)


def test_output_to_a_pipe_has_no_control_characters_and_is_in_the_log(finished):
    directory, output, errors = finished
    assert not re.search(r"[^\n\x20-\x7e]", output + errors)
    log = (directory / "train.log").read_text()
    assert all(line in log for line in output.splitlines())


def test_the_same_command_again_prints_the_result_and_changes_nothing(command_line, finished):
    directory, output, _ = finished
    before = content(directory)
    status, again, _ = command_line.train("steps=25", "hydra.run.dir=finished")
    assert status == 0
    assert "this run is finished: 25 steps trained" in again
    energy = next(line for line in output.splitlines() if line.startswith("energy "))
    assert energy in again.splitlines()
    assert content(directory) == before


def test_another_configuration_in_the_same_directory_is_refused_with_the_difference(command_line, finished):
    directory = finished[0]
    before = content(directory)
    status, output, errors = command_line.train("steps=25", "bond_length=1.5", "seed=1", "hydra.run.dir=finished")
    assert status == 1
    assert "holds a run with another configuration" in output
    assert re.search(r"^  seed: 0 -> 1$", output, re.MULTILINE)
    assert re.search(r"^  system.coordinates: .*1\.4.* -> .*1\.5", output, re.MULTILINE)
    assert "Traceback" not in output + errors
    assert content(directory) == before


def test_more_steps_extend_a_run(command_line, finished):
    extended = command_line.folder / "extended"
    shutil.copytree(finished[0], extended)
    status, output, _ = command_line.train("steps=28", "hydra.run.dir=extended")
    assert status == 0
    assert "extending the run to 28 optimization steps" in output
    old, new = ((folder / "train_stats.csv").read_text() for folder in (finished[0], extended))
    assert new.startswith(old)
    assert len(new.splitlines()) == len(old.splitlines()) + 3
    assert json.loads((extended / "result.json").read_text())["trained_steps"] == 28
    status, output, _ = command_line.train("steps=25", "hydra.run.dir=extended")
    assert (status, "28 steps trained" in output) == (0, True)


def test_a_sweep_gives_each_job_the_directory_and_numbers_of_its_single_run(command_line, tmp_path):
    command_line = type(command_line)(tmp_path, command_line.fork)  # without the runs of other tests
    short = ["steps=2", "evaluation.steps=0"]
    sweep = [*short, "bond_length=1.2,1.4"]
    status, output, errors = command_line.run("train", "-m", *command_line.settings, *sweep)
    assert status == 0, output + errors
    first, second = sorted((command_line.folder / "outputs").glob("H2*/"))
    statistics = {folder: (folder / "train_stats.csv").read_text() for folder in (first, second)}
    status, output, _ = command_line.train("bond_length=1.2", *short)
    assert status == 0
    assert "this run is finished" in output
    assert sorted((command_line.folder / "outputs").glob("H2*/")) == [first, second]
    (here,) = re.findall(r"^directory +(\S+)$", output, re.MULTILINE)
    assert here in map(str, (first, second))
    status, output, _ = command_line.train("bond_length=1.2", *short, "hydra.run.dir=single")
    assert (command_line.folder / "single/train_stats.csv").read_text() == (
        command_line.folder / here / "train_stats.csv"
    ).read_text()
    assert statistics[first] != statistics[second]


def test_help_lists_systems_and_settings(command_line):
    status, output, _ = command_line.run("train", "--help")
    assert status == 0
    assert "qmcnet-train +system=N2 bond_length=2.4" in output
    assert "bicyclobutane" in output
    assert "batch_size: 1024" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no system: add +system=NAME"),
        (["+system=Xx"], "system=Xx: system is one of Al, Ar"),
        (["+system=H2", "optimizer.foo=1"], "unknown key optimizer.foo"),
        (["+system=H2", "ansatz=3"], "Config group override must be a string or a list. Got int"),
    ],
)
def test_a_command_that_cannot_be_composed_ends_with_one_clear_line(command_line, arguments, message):
    status, output, errors = command_line.run("train", *arguments)
    assert status == 1
    (line,) = (output + errors).splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_values_that_a_run_refuses_end_with_one_clear_line_each(command_line):
    bad = ["steps=abc,null", "sampler.n_blocks=1,3"]
    status, output, errors = command_line.run("train", "-m", *command_line.settings, *bad)
    assert status == 1
    assert "Traceback" not in output + errors
    found = [line for line in output.splitlines() if line.startswith("error: ")]
    assert found == [f"error: steps={value} must be a whole number" for value in ("'abc'", "'abc'", "null", "null")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sampler.n_blocks=3"], "error: sampler.n_blocks=3 is more than the 2 electrons: choose 1..2"),
        (
            ["pretraining.basis=nope", "pretraining.steps=2"],
            "error: pretraining.basis='nope' is not known to PySCF for element H",
        ),
    ],
)
def test_what_only_the_start_of_a_run_can_refuse_ends_with_one_clear_line(command_line, arguments, message):
    status, output, errors = command_line.train("steps=1", *arguments)
    assert status == 1
    assert "Traceback" not in output + errors
    assert output.splitlines()[-1].startswith(message)


STATES = [
    "+system=He",
    "states=2",
    "optimizer=kfac",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=8",
    "pretraining.steps=0",
    "burn_in.min_sweeps=4",
    "burn_in.max_sweeps=4",
    "evaluation.burn_in=5",
    "device=cpu",
]


def test_a_run_of_several_states_prints_a_table_and_draws_a_spectrum(command_line):
    settings = [*STATES, "steps=2", "evaluation.steps=100", "hydra.run.dir=states"]
    status, output, errors = command_line.run("train", *settings)
    assert status == 0, output + errors
    folder = command_line.folder / "states"
    result = json.loads((folder / "result.json").read_text())
    assert len(result["states"]) == 2
    for state in result["states"]:
        assert {"energy", "excitation_ev", "dipole", "spin", "oscillator_strength", "multiplicity"} <= set(state)
    assert (folder / "spectrum.png").read_bytes()[:4] == b"\x89PNG"
    lines = output.splitlines()
    (header,) = [i for i, line in enumerate(lines) if re.match(r"state +energy / Ha +exc. / eV", line)]
    table = lines[header + 1 : header + 5]
    assert [line.split()[0] for line in table] == ["0", "1", "overlaps", f"{result['overlaps'][1][0]:.3f}"]
    assert table[1].split()[1].startswith(f"{result['states'][1]['energy']['value']:.5f}(")
    again = command_line.run("train", *settings)[1]
    assert "this run is finished: 2 steps trained" in again
    assert set(table) <= set(again.splitlines())


def test_a_killed_and_a_stopped_run_end_with_the_numbers_of_an_uninterrupted_one(command_line):
    settings = [*STATES, "+observables=[spin,density]", "steps=20", "evaluation.steps=20", "logging.every=1"]
    broken, whole = (command_line.folder / name for name in ("broken", "whole"))
    statistics = broken / "train_stats.csv"

    def rows():
        return len(statistics.read_text().splitlines()) if statistics.exists() else 0

    def stop_after(count, number):
        child = command_line.begin("train", *settings, "checkpoints.seconds=0", "hydra.run.dir=broken")
        while child.process.is_alive() and rows() < count:
            time.sleep(0.01)
        os.kill(child.process.pid, number)
        status, output, errors = child.wait()
        assert not (broken / "result.json").exists()
        return status, output + errors

    assert stop_after(3, signal.SIGKILL)[0] == -signal.SIGKILL
    status, output = stop_after(rows() + 3, signal.SIGTERM)
    assert status == 75
    assert "continuing optimization after step" in output
    assert "received SIGTERM: optimization saved after step" in output
    assert output.rstrip().endswith("The same command continues, without resume=false if that was given.")
    status, output, _ = command_line.run("train", *settings, "hydra.run.dir=broken")
    assert "continuing optimization after step" in output
    # So few steps need not be stationary.
    assert command_line.run("train", *settings, "hydra.run.dir=whole")[0] == status
    assert statistics.read_text() == (whole / "train_stats.csv").read_text()
    results = [json.loads((folder / "result.json").read_text()) for folder in (broken, whole)]
    for key in ("states", "overlaps", "warnings", "energy", "standard_error", "tau", "variance", "evaluation_steps"):
        assert results[0][key] == results[1][key]
    for name in ("density_0.cube", "density_1.cube"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+observables=[dipol]"], "error: observables='dipol' must be one of density, dipole, forces, natural"),
        (["observables=dipole"], "error: observables='dipole' must be a list"),
        (
            ["objective=penalty", "objective.weights=[2,1]"],
            "error: objective.weights=[2, 1] must be one for each of the 1 states",
        ),
    ],
)
def test_unknown_observables_and_objectives_are_refused(command_line, arguments, message):
    status, output, errors = command_line.train("steps=1", *arguments)
    assert status == 1
    assert "Traceback" not in output + errors
    assert output.splitlines()[-1].startswith(message)


def test_observables_are_added_by_the_command_line(command_line, finished, tmp_path):
    folder = tmp_path / "added"
    shutil.copytree(finished[0], folder)
    arguments = ["steps=25", f"hydra.run.dir={folder}"]
    status, output, errors = command_line.train(*arguments, "+observables=[dipole,spin]")
    assert status == 0, output + errors
    assert "these observables were not measured before: the evaluation starts again" in output
    (state,) = json.loads((folder / "result.json").read_text())["states"]
    assert list(state["dipole"]) == ["x", "y", "z"]
    assert re.search(r"^dipole +x .*y .*z ", output, re.MULTILINE)
    assert re.search(r"^spin +s_squared ", output, re.MULTILINE)
    assert (folder / "train_stats.csv").read_bytes() == (finished[0] / "train_stats.csv").read_bytes()
    before = content(folder)
    status, output, _ = command_line.train(*arguments, "observables=[spin,dipole]")
    assert status == 0
    assert "this run is finished: 25 steps trained" in output
    assert content(folder) == before


@pytest.mark.skipif(n_cores() < 2, reason="a process needs a core")
def test_two_processes_give_the_numbers_of_one_and_are_as_quiet(command_line):
    common = ["steps=4", "dtype=float64"]
    status, output, errors = command_line.train(*common, "hydra.run.dir=one")
    assert status == 0, output + errors
    status, output, errors = command_line.train(*common, "hydra.run.dir=two", "devices=2", "logging.all_ranks=true")
    assert status in (0, 1)  # the processes do not take any series for an estimate
    for line in ("walkers          32", "optimization done after 4 steps", "evaluation done after 30 steps"):
        assert output.count(line) == 1, output + errors
    for table in ("train_stats.csv", "evaluation/evaluation_stats.csv"):
        columns = []
        for name in ("one", "two"):
            with open(command_line.folder / name / table, newline="") as file:
                columns.append([float(row["energy"]) for row in csv.DictReader(file)])
        assert columns[1] == pytest.approx(columns[0], rel=1e-9)
    assert (command_line.folder / "two" / "train.rank1.log").stat().st_size > 0
