import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from geometry.surfaces import hydrogen, water

from qmcnet.config.build import build
from qmcnet.geometry.point import own_error, point_of
from qmcnet.geometry.relax import relax
from qmcnet.geometry.settings import FIRST_ORDER_STEPS, FORGOTTEN, RelaxationSettings, forgotten
from qmcnet.geometry.surface import Surface, reoptimising
from qmcnet.optimizers import Schedule
from qmcnet.report.result import Result
from qmcnet.run.directory import RunDirectoryError, read_config
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.system.molecule import Molecule

pytestmark = pytest.mark.usefixtures("any_series_is_an_estimate")
SETTINGS = RelaxationSettings(steps=3, evaluation_steps=8, most_evaluation_steps=10, force_error=1e-9)
LENGTHS = (1.6, 1.4, 1.6)


@pytest.fixture(scope="module")
def surface_in(make_run):
    """A surface with the smallest runs, made in a folder."""

    def make(folder, **settings):
        return Surface(build, make_run(folder, molecule=hydrogen(1.4)).config, folder, SETTINGS, **settings)

    return make


def numbers(points):
    return [(point.energy, point.error, point.forces.tolist(), point.directory.name) for point in points]


@pytest.fixture(scope="module")
def uninterrupted(surface_in, tmp_path_factory, any_series_is_an_estimate):
    """Points, and the folder with their runs, not to be changed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    surface = surface_in(folder)
    return numbers(surface(hydrogen(length)) for length in LENGTHS), folder


def test_points_are_found_again_and_start_from_the_nearest_before(surface_in, uninterrupted):
    expected, folder = uninterrupted
    assert [name for *_, name in expected] == ["000", "001", "000"]
    first, second = (read_config(folder / "points" / name) for name in ("000", "001"))
    assert second["init_from"] == str(folder / "points" / "000")
    assert (first["init_from"], first["steps"], second["steps"]) == (None, 5, 3)
    assert first["seed"] != second["seed"]
    assert second["optimizer"]["learning_rate"] == pytest.approx(first["optimizer"]["learning_rate"] / 2)
    assert numbers([surface_in(folder)(hydrogen(1.4 + 1e-8))]) == expected[1:2]
    for length, nearest in ((1.45, "001"), (1.58, "000")):
        assert surface_in(folder).check(hydrogen(length)).init_from == str(folder / "points" / nearest)


def test_points_know_where_their_networks_were_carried_from(surface_in, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted[1], tmp_path, dirs_exist_ok=True)
    surface, path = surface_in(tmp_path), tmp_path / "points" / "001" / "result.json"
    assert surface(hydrogen(LENGTHS[0])).origin is None
    content = json.loads(path.read_text())
    for carried in (True, False):
        content["init_from"]["carried"] = carried
        path.write_text(json.dumps(content))
        found = surface(hydrogen(LENGTHS[1]))
        assert found.forgotten == forgotten(read_config(path.parent)["optimizer"], 3, SETTINGS.warmup_steps)
        if carried:
            np.testing.assert_allclose(found.origin, hydrogen(LENGTHS[0]).coordinates)
        else:
            assert found.origin is None


def test_a_point_whose_run_was_deleted_is_computed_again(surface_in, uninterrupted, tmp_path):
    expected, folder = uninterrupted
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "points" / "000")
    assert numbers([surface_in(tmp_path / "copy")(hydrogen(LENGTHS[0]))]) == expected[:1]


def test_a_point_far_from_all_others_is_trained_from_its_start(surface_in, uninterrupted):
    surface = surface_in(uninterrupted[1])
    surface.config["init_from"] = "elsewhere"  # of the first run alone
    near, far = surface.check(hydrogen(2.0)), surface.check(hydrogen(4.0))
    assert near.init_from is not None
    assert (far.init_from, far.steps) == (None, 5)


@pytest.mark.parametrize(("stage", "count"), [(Optimization, 6), (Evaluation, 7)])
def test_one_that_was_stopped_goes_on_to_the_same_numbers(surface_in, tmp_path, uninterrupted, stop_at, stage, count):
    stop_at(stage, count)  # the first run makes 5 steps and is evaluated in 8
    with pytest.raises(Interrupted):
        numbers(surface_in(tmp_path)(hydrogen(length)) for length in LENGTHS)
    assert numbers(surface_in(tmp_path)(hydrogen(length)) for length in LENGTHS) == uninterrupted[0]


def test_a_first_run_that_itself_starts_from_another_goes_on_as_it_began(surface_in, tmp_path, uninterrupted, stop_at):
    source = str(uninterrupted[1] / "points" / "000")
    surface = surface_in(tmp_path)
    surface.config["init_from"] = source
    stop_at(Optimization, 2)
    with pytest.raises(Interrupted):
        surface(hydrogen(1.45))
    run = surface.check(hydrogen(1.45))
    assert (run.init_from, run.steps) == (source, 5)


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_the_steps_at_a_geometry_are_as_many_as_forget_the_last(rate):
    settings = RelaxationSettings(learning_rate=0.5, warmup_steps=20)
    changed = reoptimising({"optimizer": {"learning_rate": rate, "damping": 1e-3}, "averaging": {}}, settings)
    description = dict(changed["schedule"])
    assert description.pop("_target_") == "Schedule"
    schedule, steps = Schedule(**description), changed["steps"]
    total = sum(schedule(step, steps) for step in range(steps)) * changed["optimizer"]["learning_rate"]
    assert total == pytest.approx(FORGOTTEN, abs=2 * rate)
    assert forgotten(changed["optimizer"], steps, 20) == pytest.approx(1.0, abs=rate)
    assert forgotten(changed["optimizer"], 3 * steps, 20) == pytest.approx(3.0, rel=0.1)
    assert forgotten(changed["optimizer"], 0, 20) > 0
    for other in ({"learning_rate": rate}, {"damping": 1e-3}):
        assert reoptimising({"optimizer": other, "averaging": {}}, settings)["steps"] == FIRST_ORDER_STEPS


def test_runs_are_evaluated_until_the_errors_of_forces_are_as_small_as_what_is_left_out(surface_in, uninterrupted):
    surface = surface_in(uninterrupted[1])
    points = [surface(hydrogen(length)) for length in LENGTHS[:2]]
    steps = [Result.read(point.directory / "result.json").evaluation_steps for point in points]
    small = [point.worst_error <= own_error(point.distance) for point in points]
    assert all(made == 10 or enough for made, enough in zip(steps, small, strict=True))
    assert all(8 <= made <= 10 for made in steps)


@pytest.mark.parametrize(("asked", "scattered", "expected"), [(None, 0, 8), (9.0, 0, 8), (1e-9, 0, 10), (1e-9, 9.0, 8)])
def test_energies_are_evaluated_until_their_errors_are_as_small_as_asked_for_or_as_they_scatter(
    surface_in, tmp_path, monkeypatch, asked, scattered, expected
):
    monkeypatch.setattr("qmcnet.geometry.surface.scatter", lambda distance: scattered)
    surface = surface_in(tmp_path)
    surface.settings = replace(SETTINGS, force_error=1e9)
    point = surface(hydrogen(1.4), asked)
    assert Result.read(point.directory / "result.json").evaluation_steps == expected


def test_a_trained_run_takes_the_place_of_the_first(surface_in, uninterrupted, tmp_path):
    source = uninterrupted[1] / "points" / "000"
    run = surface_in(tmp_path, source=source).check(hydrogen(1.45))
    assert (run.init_from, run.steps) == (str(source), 3)


def test_what_cannot_be_relaxed_is_refused_before_anything_is_written(surface_in, tmp_path):
    surface = surface_in(tmp_path / "atom")
    with pytest.raises(ValueError, match="He is an atom, and has no geometry to relax"):
        relax(surface, Molecule.atom("He"))
    with pytest.raises(ValueError, match="max_force=0"):
        relax(surface, hydrogen(1.4), max_force=0)
    with pytest.raises(ValueError, match="geometries=0"):
        relax(surface, hydrogen(1.4), geometries=0)
    assert not (tmp_path / "atom").exists()


def test_points_of_other_settings_are_left_alone(surface_in, uninterrupted):
    surface = surface_in(uninterrupted[1])
    surface.config |= {"batch_size": surface.config["batch_size"] * 2, "steps": 7}
    for length in (1.4, 1.47):
        with pytest.raises(RunDirectoryError, match=r"000 holds a run with other settings:\n  batch_size: .*\nUse"):
            surface.check(hydrogen(length))
        with pytest.raises(RunDirectoryError, match="other settings"):
            surface(hydrogen(length))
    assert not (uninterrupted[1] / "points" / "002").exists()


def test_a_point_says_what_its_result_warns_of(surface_in, uninterrupted):
    directory = surface_in(uninterrupted[1])(hydrogen(1.6)).directory
    result = replace(Result.read(directory / "result.json"), warnings=["the walkers are stuck"])
    assert "the walkers are stuck" in point_of(result, hydrogen(1.6), directory).caveats


def test_points_of_another_molecule_are_left_alone(surface_in, uninterrupted):
    with pytest.raises(RunDirectoryError, match="holds H2 with charge 0 and spin 0, not H2O"):
        surface_in(uninterrupted[1])(water())
    with pytest.raises(RunDirectoryError, match=r"its atoms in this order and its core potentials"):
        surface_in(uninterrupted[1])(hydrogen(1.4).with_ecp({"H": "ccecp"}))
