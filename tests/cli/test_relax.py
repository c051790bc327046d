import json
from dataclasses import asdict

import pytest
import yaml

from qmcnet.config.naming import config_directory, relaxation_name
from qmcnet.geometry.settings import RelaxationSettings

SETTINGS = ["ansatz=slater_jastrow", "steps=4", "relaxation.evaluation_steps=30", "relaxation.force_error=9"]


def relax(command_line, *typed):
    small = [setting for setting in command_line.settings if not setting.startswith(("ansatz.", "evaluation.steps"))]
    return command_line.run("relax", *small, *SETTINGS, *typed)


def test_a_structure_is_found_by_a_command_that_was_stopped(command_line):
    typed = ["max_force=0.9", "geometries=1", "hydra.run.dir=relaxed"]
    status, output, errors = relax(command_line, *typed, "wall_time=1e-3")
    assert status == 75, output + errors
    assert "The same command continues" in output + errors
    for again in range(2):
        status, output, errors = relax(command_line, *typed)
        assert status == 0, output + errors
        assert ("this run is finished" in output) == bool(again)
        assert "bond H1-H2" in output
    folder = command_line.folder / "relaxed"
    found = json.loads((folder / "relaxation.json").read_text())
    assert found["at_rest"]
    assert found["bonds"]["H1-H2"]["bohr"]["error"] > 0
    assert len(found["points"]) == 1
    assert found["seed"] == 0
    assert {"relaxed.xyz", "trajectory.extxyz", "relax.log", ".hydra"} <= {path.name for path in folder.iterdir()}


def test_the_directory_is_named_after_what_decides_the_runs():
    typed = ["+system=H2", "relaxation.steps=9", "frequencies=true", "max_force=1e-4", "geometries=9", "wall_time=9"]
    assert relaxation_name(typed) == "relax_H2_relaxation.steps=9"


def test_yaml_shows_every_setting_of_the_runs_at_later_geometries():
    group = yaml.safe_load((config_directory() / "relaxation" / "default.yaml").read_text())
    assert group.pop("_target_").endswith(".RelaxationSettings")
    shown = {name: float(value) if isinstance(value, str) else value for name, value in group.items()}
    assert shown == asdict(RelaxationSettings())


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["+system=He"], "He is an atom, and has no geometry to relax: name a molecule"),
        (["+system=H2", "states=2"], "states=2: the structure of the ground state is found by runs of one state"),
        (["+system=H2", "max_force=-1"], "max_force=-1 must be positive"),
        (
            ["+system=He", "evaluation.target_error=1e-3"],
            "evaluation.target_error has no effect here: set relaxation.force_error",
        ),
        (["+system=H2", "relaxation.steps=0"], "relaxation.steps=0 must be at least 1"),
        (["+system=H2", "relaxation.step=9"], "did you mean relaxation.steps"),
        (["+system=H2", "relaxation.most_evaluation_steps=9"], "relaxation.most_evaluation_steps=9 must be at least"),
        (["run=nowhere"], "nowhere holds no run"),
        (["run=nowhere", "+system=H2"], "system=H2 beside run=DIR"),
        ([], "no system: add +system=NAME"),
    ],
)
def test_a_slip_is_answered_in_one_line(command_line, typed, message):
    status, output, errors = command_line.run("relax", *typed)
    said = (output + errors).strip()
    assert status == 1, said
    assert message in said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("error: ")
