"""Forces in a run: measured, written, continued to the last bit, and refused or left out where they mean nothing."""

import json

import pytest

from qmcnet import EvaluationSettings, Molecule, PretrainingSettings
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation import Evaluation

pytestmark = pytest.mark.usefixtures("any_series_is_an_estimate")
SETTINGS = {
    "molecule": Molecule.diatomic("H", "H", 1.5, "bohr"),
    "pretraining": PretrainingSettings(steps=0),
    "steps": 4,
    "evaluation": EvaluationSettings(steps=12, min_steps=10, burn_in=3),
    "observables": ["forces"],
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, make_run):
    directory = tmp_path_factory.mktemp("forces")
    return directory, make_run(directory, **SETTINGS).train()


def test_forces_are_in_the_result_and_what_is_printed(measured):
    directory, result = measured
    forces = json.loads((directory / "result.json").read_text())["states"][0]["forces"]
    atoms = sorted({name.split()[0] for name in forces} - {"net", "torque"})
    assert {f"{name} {axis}" for name in (*atoms, "net", "torque") for axis in "xyz"} == {*forces}
    assert all(figure["error"] > 0 for name, figure in forces.items() if name.split()[0] in atoms)
    assert all(abs(forces[f"net {axis}"]["value"]) < 1e-4 for axis in "xyz")
    assert any(abs(forces[f"{atoms[0]} {axis}"]["value"]) > 1e-3 for axis in "xyz")
    text = result.summary()
    assert all(f"force on {atom}" in text for atom in atoms)
    assert text.count("torque") == 1


def test_an_evaluation_with_forces_continues_to_the_last_bit(tmp_path, make_run, measured, stop_at):
    stop_at(Evaluation, 7)
    with pytest.raises(Interrupted):
        make_run(tmp_path, **SETTINGS).train()
    assert repr(make_run(tmp_path, **SETTINGS).train().states) == repr(measured[1].states)


def test_several_states_are_refused_before_anything_is_computed(tmp_path, make_run):
    with pytest.raises(ValueError, match="observables=forces is for a single state: this run has 2"):
        make_run(tmp_path, **SETTINGS, network={"n_states": 2})


def test_diffusion_leaves_forces_out_and_says_why(measured, make_run, caplog):
    directory, _ = measured
    settings = DiffusionSettings(timesteps=[0.02], walkers=20, steps=12)
    make_run(directory, **SETTINGS).diffuse(settings)
    assert "forces are left out: mixed averages" in caplog.text
