import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from qmcnet.report.sweep import Point, Sweep
from qmcnet.run.lock import lock
from qmcnet.run.points import deciding, found_in, point


def started(folder, log="", checkpoint=""):
    """A run directory after its first checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / (checkpoint or "00000000-optimization-00000120.pt")).write_bytes(b"")
    (folder / "train.log").write_text(log)
    (folder / "config.yaml").write_text("{}")
    return folder


def test_how_far_a_run_is(tmp_path):
    assert point(tmp_path / "nothing", {}).status == "missing"
    folder = started(tmp_path / "stopped", "[2026-11-28 10:00:00,000] INFO optimization 120/800  E -1.0\n")
    assert point(folder, {}).status == "interrupted after step 120 of optimization"
    with lock(folder):
        assert point(folder, {}).status == "running after step 120 of optimization"
    time = "[2026-11-28 10:00:00,000]"
    log = f"{time} INFO fine\n{time} ERROR error: the energy is lost\nsee postmortem\n"
    assert point(started(tmp_path / "lost", log), {}).status == "failed: the energy is lost"
    assert point(tmp_path / "refused", {}, "bond_length=-1 is not a length").status.startswith("failed: bond_length=-1")
    assert not any(point(each, {}).succeeded for each in tmp_path.iterdir())


def test_the_newest_checkpoint_counts(tmp_path):
    folder = started(tmp_path / "run")
    (folder / "checkpoints" / "00000800-evaluation-00000010.pt").write_bytes(b"")
    assert point(folder, {}).status == "interrupted after step 10 of evaluation"


def test_a_finished_run_has_its_energies(finished):
    done = point(finished, {"seed": 0.0})
    assert (done.status, done.succeeded) == ("done", True)
    assert done.energies()[0]["value"] == json.loads((finished / "result.json").read_text())["energy"]


def test_runs_are_found_in_folders_and_read_in_order(finished, tmp_path):
    (finished / ".hydra").mkdir()
    (finished / ".hydra" / "overrides.yaml").write_text("- +system=He\n- seed=12\n")
    for seed in (9, 100):
        folder = started(finished.parent / f"seed={seed}")
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(f"- +system=He\n- seed={seed}\n")
    (finished.parent / "notes").mkdir()
    points = found_in([finished.parent])
    assert [each.settings["seed"] for each in points] == [9, 12, 100]
    sweep = Sweep(points)
    assert (sweep.varied, sweep.variable, sweep.succeeded) == (["seed"], "seed", False)


def test_settings_are_numbers_where_they_can_be_and_say_what_is_computed():
    typed = ["+system=N2", "bond_length=2.4", "++optimizer.damping=1e-3", "wall_time=3", "steps=7"]
    assert deciding(typed) == {"system": "N2", "bond_length": 2.4, "optimizer.damping": 1e-3}


def test_a_run_that_has_gone_on_is_not_done(finished):
    (finished / "checkpoints" / "99999999-optimization-99999999.pt").write_bytes(b"")
    assert point(finished, {}).status == "interrupted after step 99999999 of optimization"


def test_a_run_that_is_to_end_with_diffusion_is_done_after_that(finished):
    (finished / ".hydra").mkdir()
    group = {"_target_": "qmcnet.stages.diffusion_settings.DiffusionSettings", "timesteps": [0.02]}
    (finished / ".hydra" / "config.yaml").write_text(json.dumps({"diffusion": group}))
    assert point(finished, {}).status == "missing"
    folder = finished / "dmc" / "timesteps=0.02"
    folder.mkdir(parents=True)
    found = {"energy": -2.9, "standard_error": 1e-3, "points": [{"generations": 20, "stationary": True}]}
    (folder / "result.json").write_text(json.dumps(found))
    done = point(finished, {})
    assert (done.status, done.energies()) == ("done", [{"value": -2.9, "error": 1e-3}])
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "00000008-dmc-00000030.pt").write_bytes(b"")
    assert point(finished, {}).status == "interrupted after step 30 of dmc"
    found["points"][0] = {"generations": 30, "stationary": False}
    (folder / "result.json").write_text(json.dumps(found))
    assert point(finished, {}).status == "no estimate: diffusion drifts"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"energy": 1}'])
def test_looking_at_a_damaged_run_changes_nothing(finished, content):
    (finished / "result.json").write_text(content)
    (finished / ".hydra").mkdir()
    (finished / ".hydra" / "overrides.yaml").write_text("3")
    assert not found_in([finished])[0].succeeded
    assert (finished / "result.json").read_text() == content


@pytest.mark.parametrize("part", ["value", "error"])
def test_an_energy_that_is_not_there_is_damage_and_leaves_the_table(finished, part):
    content = json.loads((finished / "result.json").read_text())
    content["states"][0]["energy"][part] = None
    (finished / "result.json").write_text(json.dumps(content))
    assert not Sweep([point(finished, {})]).succeeded
    assert Sweep([point(finished, {})]).summary()


def test_bond_lengths_are_in_bohr_whatever_was_typed():
    geometry = {"symbols": ["H", "H"], "bohr": [[0, 0, 0], [0, 0, 1.5]]}
    states = [{"energy": {"value": -1.0, "error": 1e-4}}]
    found = SimpleNamespace(reference=None, states=states, metadata={"geometry": geometry, "charge": 0, "spin": 0})
    points = [Point(Path("a"), {"bond_length": length}, "done", True, found) for length in (0.7, 0.8)]
    assert Sweep(points)._series(0)[0][0] == pytest.approx(1.5)


@pytest.mark.parametrize("several", [False, True])
def test_files_of_a_sweep(finished, tmp_path, several):
    points = [point(finished, {"seed": 1.0}), point(tmp_path / "gone", {"seed": 2.0})]
    points += [point(finished, {"seed": 3.0})] * several
    folder = tmp_path / "sweep"
    Sweep(points).store(folder)
    content = json.loads((folder / "sweep.json").read_text())
    assert content["varied"] == ["seed"]
    assert [row["status"] for row in content["points"]] == ["done", "missing", "done"][: len(points)]
    lines = (folder / "sweep.csv").read_text().splitlines()
    assert lines[0] == "seed,energy,error,above_reference,status,directory"
    assert len(lines) == 1 + len(points)
    assert b"<svg" in (folder / "curve.svg").read_bytes()
    text = Sweep(points).summary()
    assert "missing" in text
    assert f"{points[0].energies()[0]['value']:.6f}" in text


def test_what_a_reference_is_uncertain_by_is_in_the_error_of_the_difference():
    reference = {"energy": -54.5892, "uncertainty": 4e-4}
    found = SimpleNamespace(reference=reference, states=[{"energy": {"value": -54.5862, "error": 3e-4}}], metadata={})
    row = Sweep([Point(Path("N"), {}, "done", True, found)]).cells()[1]
    assert row[1:3] == ["-54.586200(300)", "3.00(50)"]
    assert Sweep([Point(Path("N"), {}, "done", True, found)]).rows()[0]["error"] == pytest.approx(3e-4)
