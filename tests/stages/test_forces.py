"""Forces in a run: measured, written, continued to the last bit, and refused or left out where they mean nothing."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qmcnet import EvaluationSettings, LoggingSettings, Molecule, PretrainingSettings
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
    atoms = sorted({name.split()[0] for name in forces} - {"torque"})
    assert {f"{name} {axis}" for name in (*atoms, "torque") for axis in "xyz"} == {*forces}
    assert all(figure["error"] > 0 for name, figure in forces.items() if name.split()[0] in atoms)
    assert all(abs(sum(forces[f"{atom} {axis}"]["value"] for atom in atoms)) < 1e-4 for axis in "xyz")
    assert any(abs(forces[f"{atoms[0]} {axis}"]["value"]) > 1e-3 for axis in "xyz")
    text = result.summary()
    assert all(f"force on {atom}" in text for atom in atoms)
    assert text.count("torque") == 1


def test_an_evaluation_with_forces_continues_to_the_last_bit(tmp_path, make_run, measured, stop_at):
    stop_at(Evaluation, 7)
    with pytest.raises(Interrupted):
        make_run(tmp_path, **SETTINGS).train()
    assert repr(make_run(tmp_path, **SETTINGS).train().states) == repr(measured[1].states)


def test_every_state_has_forces_in_training_and_evaluation(tmp_path, make_run):
    result = make_run(tmp_path, **SETTINGS, network={"n_states": 2}, logging=LoggingSettings(every=2)).train()
    first, second = (state["forces"] for state in result.states)
    assert {*first} == {*second}
    assert all(f"state {number}: force on H2" in result.summary() for number in (0, 1))
    assert first["H1 z"]["value"] != second["H1 z"]["value"]
    assert result.states[1]["forces"]["H1 z"]["value"] == pytest.approx(-second["H2 z"]["value"], abs=1e-6)
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert any(tag.endswith("forces/H1 z_1") for tag in tags), tags


def test_diffusion_leaves_forces_out_and_says_why(measured, make_run, caplog):
    directory, _ = measured
    settings = DiffusionSettings(timesteps=[0.02], walkers=20, steps=12)
    make_run(directory, **SETTINGS).diffuse(settings)
    assert "forces are left out: mixed averages" in caplog.text
