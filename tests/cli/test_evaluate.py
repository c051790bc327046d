import json

import pytest
from omegaconf import OmegaConf

from qmcnet.cli.evaluate import evaluate
from qmcnet.config.schema import ConfigError

DEFAULTS = {
    "trust": False,
    "averaged": True,
    "observables": None,
    "run": "missing",
    "output": None,
    "steps": 100,
    "target_error": None,
    "min_steps": 10,
    "burn_in": 5,
    "device": "cpu",
    "devices": 1,
    "wall_time": None,
}


@pytest.fixture(scope="module")
def trained(command_line):
    status, output, errors = command_line.train("steps=2", "hydra.run.dir='a=1,2'")
    assert status == 0, output + errors
    return command_line.folder / "a=1,2"


def test_an_evaluation_sharpens_the_energy_of_a_run_and_leaves_it_as_it_was(command_line, trained):
    kept = {name: (trained / name).read_bytes() for name in ("result.json", "config.yaml", "train_stats.csv")}
    before, others = json.loads(kept["result.json"]), set((trained / "evaluation").glob("*/result.json"))
    status, output, errors = command_line.run("evaluate", "run=a=1,2", "steps=90", "device=cpu")
    assert status == 0, output + errors
    (path,) = set((trained / "evaluation").glob("*/result.json")) - others
    after = json.loads(path.read_text())
    assert after["evaluation_steps"] == 90
    assert after["standard_error"] < before["standard_error"]
    combined = (before["standard_error"] ** 2 + after["standard_error"] ** 2) ** 0.5
    assert abs(after["energy"] - before["energy"]) < 5 * combined
    assert f"{after['energy']:.6f} +- {after['standard_error']:.6f} hartree" in output
    assert {name: (trained / name).read_bytes() for name in kept} == kept


def test_an_error_target_ends_an_evaluation_early(command_line, trained):
    target = 2 * json.loads((trained / "result.json").read_text())["standard_error"]
    status, output, errors = command_line.run(
        "evaluate", "run=a=1,2", f"target_error={target}", "steps=5000", "burn_in=7"
    )
    assert status == 0, output + errors
    found = json.loads((trained / "evaluation" / "burn_in=7" / "result.json").read_text())
    assert found["evaluation_steps"] < 1000
    assert found["standard_error"] <= target


def test_observables_are_measured_by_an_evaluation(command_line, trained):
    before = (trained / "result.json").read_bytes()
    arguments = ["run=a=1,2", "steps=60", "burn_in=8", "device=cpu"]
    status, output, errors = command_line.run("evaluate", *arguments, "observables=[spin,dipole,density]")
    assert status == 0, output + errors
    folder = trained / "evaluation" / "burn_in=8,density,dipole,spin"
    (state,) = json.loads((folder / "result.json").read_text())["states"]
    assert list(state["dipole"]) == ["x", "y", "z"]
    assert list(state["spin"]) == ["s_squared"]
    assert (folder / "density.cube").exists()
    assert (trained / "result.json").read_bytes() == before
    # With a plus it is the same evaluation, and finished.
    cube = (folder / "density.cube").read_bytes()
    status, again, _ = command_line.run("evaluate", *arguments, "+observables=[density,dipole,spin]")
    assert status == 0
    assert f"{state['energy']['value']:.6f}" in again
    assert json.loads((folder / "result.json").read_text())["states"] == [state]
    assert (folder / "density.cube").read_bytes() == cube


def test_an_unknown_observable_is_refused_with_one_line(command_line, trained):
    status, output, errors = command_line.run("evaluate", "run=a=1,2", "+observables=[spin,foo]")
    assert status == 1
    (line,) = (output + errors).splitlines()
    assert line.startswith(
        "error: observables='foo' must be one of density, dipole, forces, natural_orbitals, pair, radial, spin"
    )


def test_a_missing_run_is_refused_and_nothing_is_created(command_line, trained):
    before = sorted(command_line.folder.iterdir())
    status, output, errors = command_line.run("evaluate", "run=missing")
    assert status == 1
    assert (output + errors).splitlines() == ["error: missing holds no run: there is no config.yaml in it"]
    assert sorted(command_line.folder.iterdir()) == before


def test_help(command_line):
    status, output, _ = command_line.run("evaluate", "--help")
    assert status == 0
    assert "qmcnet-evaluate run=DIR" in output
    assert "target_error: null" in output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": "???"}, "no run: add run=DIR"),
        ({"steps": "abc"}, "steps='abc' must be a whole number"),
        ({"target_error": "abc"}, "target_error='abc' must be a number, auto or null"),
        ({"target_error": -1}, "target_error=-1 must be positive"),
        ({"wall_time": "abc"}, "wall_time='abc' must be a number or null"),
        ({"device": None}, "device=null must be text"),
        ({"averaged": 1}, "averaged=1 must be true or false"),
        ({"foo": 1}, "unknown key foo: choose among steps, target_error, min_steps, burn_in"),
        ({"run": 3}, "3 holds no run"),
        ({"observables": "spin"}, "observables='spin' must be a list"),
    ],
)
def test_bad_settings_are_refused(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        evaluate(OmegaConf.create(DEFAULTS | change))


def test_settings_are_looked_at_before_the_run():
    with pytest.raises(ConfigError, match="burn_in='x' must be a whole number"):
        evaluate(OmegaConf.create(DEFAULTS | {"burn_in": "x"}))
