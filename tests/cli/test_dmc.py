import json

import pytest


@pytest.fixture(scope="module")
def trained(command_line):
    status, output, errors = command_line.train("steps=2", "hydra.run.dir=run")
    assert status == 0, output + errors
    return command_line.folder / "run"


def test_walkers_of_a_run_are_taken_to_an_energy_at_time_step_zero(command_line, trained):
    kept = {name: (trained / name).read_bytes() for name in ("result.json", "config.yaml", "train_stats.csv")}
    typed = ["dmc", "run=run", "timesteps=[0.01,0.03]", "target_error=null", "steps=40", "device=cpu"]
    status, output, errors = command_line.run(*typed)
    assert status == 0, output + errors
    folder = trained / "dmc" / "timesteps=0.03,0.01"
    found = json.loads((folder / "result.json").read_text())
    assert [point["timestep"] for point in found["points"]] == [0.03, 0.01]
    assert f"{found['energy']:.6f} +- {found['standard_error']:.6f} hartree, by a line to time step zero" in output
    assert len((folder / "dmc_stats.csv").read_text().splitlines()) == 81
    assert {name: (trained / name).read_bytes() for name in kept} == kept
    assert any(folder.glob("events.out.tfevents.*"))
    status, output, _ = command_line.run(*typed)  # which is finished
    assert (status, len((folder / "dmc_stats.csv").read_text().splitlines())) == (0, 81)


def test_a_run_that_its_wall_time_ends_is_continued(command_line, trained):
    typed = ["dmc", "run=run", "timesteps=[0.02]", "target_error=null", "device=cpu"]
    status, output, errors = command_line.run(*typed, "steps=1000000", "wall_time=1")
    assert status == 75, output + errors
    table = trained / "dmc" / "timesteps=0.02" / "dmc_stats.csv"
    made = len(table.read_text().splitlines()) - 1
    status, output, errors = command_line.run(*typed, f"steps={made + 15}")
    assert status == 0, output + errors
    assert len(table.read_text().splitlines()) - 1 == made + 15


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["run=run", "timesteps=[0]"], "timesteps=0 must be positive"),
        (["run=run", "timesteps=0.01"], "timesteps=0.01"),
        (["run=run", "timesteps=[a]"], "timesteps=['a'] must be auto, or a list of times"),
        (["run=nowhere"], "nowhere"),
        (["run=run", "timestep=[0.01]"], "timesteps"),
        (["run=run", "observables=[dipol]"], "dipol"),
        ([], "no run: add run=DIR"),
    ],
)
def test_a_slip_is_answered_in_one_line(command_line, trained, typed, message):
    status, output, errors = command_line.run("dmc", *typed)
    assert status == 1
    said = (output + errors).strip()
    assert message in said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: ")


def test_training_goes_on_by_diffusion_where_asked_for(command_line):
    typed = ["steps=2", "+diffusion=default", "diffusion.timesteps=[0.02]", "diffusion.steps=20", "seed=3"]
    status, output, errors = command_line.train(*typed)
    assert status == 0, output + errors
    (folder,) = command_line.folder.glob("outputs/**/dmc/timesteps=0.02")
    found = json.loads((folder / "result.json").read_text())
    assert found["variational"]["energy"] == json.loads((folder.parents[1] / "result.json").read_text())["energy"]
    assert "diffusion" not in folder.parents[1].name  # it says how long the run goes, not what it computes
    assert output.count("hartree") >= 2
    assert "at this time step, with 32 walkers" in output


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["diffusion.timesteps=[0]"], "diffusion.timesteps=0 must be positive"),
        (["states=2"], "a single state"),
        (["diffusion=none", "+diffusion.steps=20"], "add diffusion=default"),
        (["diffusion=none", "diffusion.steps=20"], "add diffusion=default"),
    ],
)
def test_a_slip_is_answered_before_the_training(command_line, typed, message):
    status, output, errors = command_line.train("steps=2", "diffusion=default", "seed=4", *typed)
    assert status == 1
    assert message in output + errors
    assert "Traceback" not in output + errors
    assert "optimization" not in output


def test_a_preset_that_ends_with_diffusion_leaves_it_out_where_it_is_not_for(command_line):
    typed = ["preset=medium", "steps=1", "seed=5", "pretraining.steps=1"]
    status, output, errors = command_line.train(*typed, "states=2")
    assert status == 0, output + errors
    assert "the run ends with the evaluation: diffusion Monte Carlo is for a single state" in output
    assert not list(command_line.folder.glob("outputs/*seed=5*/dmc"))
