import csv
import dataclasses
import json
import math
import shutil

import pytest
import torch

from qmcnet.report.diffused import extrapolated
from qmcnet.run.afterwards import copies
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.interruption import Interrupted
from qmcnet.stages import ladder
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.visit import Visit
from qmcnet.system.molecule import Molecule

SHORT = DiffusionSettings(timesteps=(0.02, 0.05), target_error=None, steps=12)


def table(folder):
    return list(csv.DictReader((folder / "dmc_stats.csv").open()))


def settled(result):
    """A result as of series that are long enough."""
    return dataclasses.replace(result, points=[{**point, "stationary": True} for point in result.points])


def only_folder(directory):
    (folder,) = (directory / "dmc").iterdir()
    return folder


def test_the_guide_is_what_the_wavefunction_says(tmp_path, make_run):
    run = make_run(tmp_path, symbol="Li")
    stage = Diffusion(run.simulation, SHORT, ["dipole"])
    positions = run.simulation.walkers.positions.clone().requires_grad_()
    sign, log_abs = run.ensemble(positions)
    (gradient,) = torch.autograd.grad(log_abs.sum(), positions)
    found, energy = stage.guide(positions.detach()), run.simulation.local_energy(run.simulation.states())
    torch.testing.assert_close(found.log_abs, log_abs.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.drift, gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.energy, energy.total)
    assert torch.equal(found.sign, sign)
    for own, same in zip(stage.slope(positions.detach()), (found.sign, found.log_abs, found.drift), strict=True):
        torch.testing.assert_close(own, same, rtol=1e-9, atol=1e-9)
    assert stage.names == [*energy.terms, "dipole.x", "dipole.y", "dipole.z", *stage.names[len(energy.terms) + 3 :]]
    torch.testing.assert_close(found.measured[:, : len(energy.terms)].sum(-1), energy.total)


def test_time_steps_follow_one_another_from_the_largest_and_end_in_a_table(finished, make_run):
    before = (finished / "result.json").read_bytes()
    result = make_run(finished).diffuse(SHORT)
    rows, content = table(only_folder(finished)), json.loads((only_folder(finished) / "result.json").read_text())
    assert [float(row["timestep"]) for row in rows] == [0.05] * 12 + [0.02] * 12
    assert [point["timestep"] for point in result.points] == [0.05, 0.02]
    for point in result.points:
        terms = ("kinetic", "electron_nucleus", "electron_electron")
        assert sum(point["measured"][name]["value"] for name in terms) == pytest.approx(point["energy"], abs=1e-9)
        assert point["generations"] == 12
    first, second = (point["energy"] for point in result.points)
    assert result.energy == pytest.approx(second + (second - first) * 0.02 / 0.03, abs=1e-9)
    assert content["energy"] == result.energy
    assert content["variational"]["energy"] == json.loads(before)["energy"]
    assert (finished / "result.json").read_bytes() == before
    assert all(text in result.summary() for text in ("VMC", "timestep", "0.05", "no estimate"))  # 12 steps tell nothing
    assert "by a line to time step zero" in settled(result).summary()


def test_a_time_step_goes_on_however_little_is_asked_for(finished, make_run):
    settings = DiffusionSettings(timesteps=[0.05], target_error=None, steps=12)
    made = [
        make_run(finished).diffuse(dataclasses.replace(settings, steps=steps)).points[0]["generations"]
        for steps in (12, 13, 20)
    ]
    assert made == [12, 13, 20]
    two = make_run(finished).diffuse(SHORT)
    more = make_run(finished).diffuse(dataclasses.replace(SHORT, steps=13))
    assert [point["generations"] - 12 for point in two.points] == [0, 0]
    assert all(13 <= point["generations"] <= 22 for point in more.points)


def test_a_folder_takes_no_other_time_steps_than_its_own(finished, make_run, tmp_path):
    first = make_run(finished).diffuse(SHORT, tmp_path / "other")
    for changes in ({"timesteps": (0.01, 0.03)}, {"single_electron": True}):
        with pytest.raises(RunDirectoryError, match="holds another dmc, which stays"):
            make_run(finished).diffuse(dataclasses.replace(SHORT, **changes), tmp_path / "other")
    assert make_run(finished).diffuse(SHORT, tmp_path / "other").points == first.points


def test_series_of_the_first_version_go_on(finished, make_run):
    stage = Diffusion(make_run(finished).simulation, SHORT)
    for _ in range(15):
        stage.advance()
    state = stage.state_dict()
    visits = state.pop("ladder")["visits"]
    state |= {"series": [rows for _, rows, _ in visits], "needed": SHORT.steps}
    del state["label"]
    other = Diffusion(make_run(finished).simulation, SHORT)
    other.load_state_dict(state)
    assert [(len(visit.rows), visit.open) for visit in other.ladder.visits] == [(12, False), (3, True)]
    state["series"] = [visits[0][1], visits[0][1], None]  # a finished one
    other.load_state_dict(state)
    assert other.finished()


def test_observables_of_many_figures_are_left_to_an_evaluation(finished, make_run, caplog):
    with caplog.at_level("INFO"):
        stage = Diffusion(make_run(finished).simulation, SHORT, ["radial", "spin", "density"])
    assert [operator.name for operator in stage.operators] == ["spin"]
    assert "of density, radial there are too many figures" in caplog.text


@pytest.mark.parametrize("single", [False, True])
def test_a_generation_is_timed_with_the_walkers_there_are_at_the_time(finished, make_run, single, monkeypatch):
    run, seen = make_run(finished), []
    stage = Diffusion(run.simulation, dataclasses.replace(SHORT, single_electron=single))
    for name in ("guide", "slope"):
        work = getattr(Diffusion, name)
        monkeypatch.setattr(Diffusion, name, lambda self, own, work=work: seen.append(len(own)) or work(self, own))
    trial, everything = stage.trial(run.simulation), run.simulation.walkers
    for count in (3, 7):
        run.simulation.walkers = everything.replace(positions=everything.positions[:count])
        trial.linear()
    times = 1 + 2 * single
    assert seen == [3] * times + [7] * times


def test_mixed_averages_are_extrapolated_by_those_of_the_wavefunction(finished, make_run):
    result = make_run(finished, observables=["spin"]).diffuse(SHORT)
    (mixed,) = [kinds["mixed"] for kinds in result.observables["spin"].values()]
    points = [point["measured"]["spin.s_squared"]["value"] for point in result.points]
    assert min(points) - 0.1 <= mixed["value"] <= max(points) + 0.1
    assert "extrapolated" not in result.observables["spin"]["s_squared"]  # the run was evaluated without
    assert "spin s_squared   mixed" in settled(result).summary()


def test_what_is_extrapolated_is_twice_the_mixed_average_less_that_of_the_wavefunction():
    state = {"dipole": {"z": {"value": 1.0, "error": 0.03}, "x": {"value": None, "error": None}}, "energy": {}}
    figure = {"value": 1.2, "error": 0.02}
    found = extrapolated({"dipole.z": figure, "dipole.x": figure, "spin.s_squared": figure}, state)
    assert found["dipole"]["z"]["mixed"] == figure
    assert found["dipole"]["z"]["extrapolated"] == {"value": pytest.approx(1.4), "error": pytest.approx(0.05)}
    unknown = extrapolated({"dipole.z": figure}, {"dipole": {"z": {"value": 1.0, "error": None}}})  # of one walker
    assert unknown["dipole"]["z"]["extrapolated"] == {"value": pytest.approx(1.4), "error": None}
    assert set(found["dipole"]["x"]) == set(found["spin"]["s_squared"]) == {"mixed"}


def test_a_run_that_is_stopped_continues_to_the_same_numbers(finished, tmp_path, make_run, stop_at):
    other = shutil.copytree(finished, tmp_path / "other")
    whole = make_run(finished).diffuse(SHORT)
    stop_at(Diffusion, 15)
    with pytest.raises(Interrupted):
        make_run(other).diffuse(SHORT)
    again = make_run(other).diffuse(SHORT)
    assert (again.energy, again.points) == (whole.energy, whole.points)
    assert table(only_folder(other)) == table(only_folder(finished))
    assert make_run(other).diffuse(SHORT).points == whole.points  # which is finished
    assert len(table(only_folder(other))) == 24


def test_a_time_step_ends_where_its_error_is_reached(finished, make_run, monkeypatch):
    monkeypatch.setattr(ladder, "FIRST_LOOK", 16)
    settings = DiffusionSettings(timesteps=(0.05, 0.02), target_error=1e3, steps=10000, window=1.0)
    result = make_run(finished).diffuse(settings)
    generations = [point["generations"] for point in result.points]
    assert generations[0] >= 3 / 0.05  # three windows of imaginary time, and two of those that follow
    assert 1000 > generations[1] >= 2 / 0.02
    assert all(point["discarded"] >= least for point, least in zip(result.points, (1 / 0.05, 0.2 / 0.02), strict=True))
    assert all(point["stationary"] for point in result.points)


@pytest.mark.parametrize("further", [{"steps": 22}, {"target_error": 1e-9, "steps": 24}])
def test_more_is_made_at_each_time_step_where_more_is_asked_for(finished, make_run, further):
    first = make_run(finished).diffuse(SHORT)
    again = make_run(finished).diffuse(dataclasses.replace(SHORT, **further))
    assert [point["generations"] for point in again.points] == [further["steps"]] * 2
    assert [float(row["timestep"]) for row in table(only_folder(finished))] == (
        [0.05] * 12 + [0.02] * 12 + [0.05] * (further["steps"] - 12) + [0.02] * (further["steps"] - 12)
    )
    assert all(new["energy"] != old["energy"] for new, old in zip(again.points, first.points, strict=True))
    whole = make_run(finished).diffuse(dataclasses.replace(SHORT, **further))
    assert whole.points == again.points


@pytest.mark.parametrize("count", [5, 19])
def test_walkers_may_be_fewer_or_more_than_those_of_the_training(finished, make_run, count):
    result = make_run(finished).diffuse(dataclasses.replace(SHORT, walkers=count))
    assert result.walkers == count
    assert math.isfinite(result.energy)
    assert only_folder(finished).name.endswith(f"walkers={count}")
    again = make_run(finished).diffuse(dataclasses.replace(SHORT, walkers=count, steps=24))  # which continues
    assert [point["generations"] for point in again.points] == [24, 24]
    assert len(table(only_folder(finished))) == 48
    run = make_run(finished)
    places = copies(run.simulation.walkers.positions, count)
    assert len(places) == count
    assert all(bool((place == run.simulation.walkers.positions).flatten(1).all(-1).any()) for place in places)


def test_electrons_may_move_one_by_one(finished, make_run):
    settings = {"timesteps": [1.0], "target_error": None, "steps": 40}
    together, single = (
        make_run(finished).diffuse(DiffusionSettings(**settings, single_electron=kind)) for kind in (False, True)
    )
    assert single.points[0]["accepted"] > together.points[0]["accepted"] + 0.05
    assert len(list((finished / "dmc").iterdir())) == 2


def test_few_accepted_moves_are_a_warning_with_advice(finished, make_run, caplog):
    result = make_run(finished).diffuse(DiffusionSettings(timesteps=[3.0], target_error=None, steps=12))
    assert result.points[0]["accepted"] < 0.9
    assert "choose smaller timesteps" in caplog.text
    assert (result.order, result.energy) == (0, result.points[0]["energy"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timesteps": []}, "must be auto, or a list of times"),
        ({"timesteps": "0.02"}, "must be auto, or a list of times"),
        ({"timesteps": ["a"]}, "must be auto, or a list of times"),
        ({"timesteps": [0.02, -0.01]}, "timesteps=-0.01 must be positive"),
        ({"timesteps": [0.02, 0.02]}, "holds a time twice"),
        ({"target_error": 0}, "target_error=0 must be positive"),
        ({"steps": 9}, "steps=9 must be at least 10"),
        ({"walkers": 1}, "walkers=1 must be at least 2"),
        ({"window": -1}, "window=-1 must be positive"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        DiffusionSettings(**settings)


@pytest.mark.parametrize(
    ("charges", "largest"),
    [([1] * 10, 0.02), ([3, 1], 0.02), ([6], 0.01), ([8], 0.005), ([8, 1, 1], 0.005), ([7, 7], 0.0025), ([10], 0.0025)],
)
def test_time_steps_are_those_at_which_a_tenth_is_rejected_or_below(charges, largest):
    """Nine tenths were accepted of C at 0.012, N 0.008, O 0.0056, H2O 0.0053, N2 0.004."""
    settings = DiffusionSettings()
    assert settings.label(True, []) == "timesteps=auto"
    assert settings.with_timesteps(torch.tensor(charges)).timesteps == (largest, largest / 2, largest / 4)
    assert SHORT.with_timesteps(torch.tensor(charges)) is SHORT


def test_time_steps_of_none_that_are_given_are_those_of_the_nuclei(finished, make_run):
    result = make_run(finished).diffuse(DiffusionSettings(target_error=None, steps=12))
    assert [point["timestep"] for point in result.points] == [0.02, 0.01, 0.005]
    assert only_folder(finished).name == "timesteps=auto"


def test_a_wavefunction_without_nodes_of_its_own_is_refused(tmp_path, make_run):
    with pytest.raises(ValueError, match="a single state: this run has several"):
        Diffusion(make_run(tmp_path / "two", network={"n_states": 2}).simulation, SHORT)
    with pytest.raises(ValueError, match="a complex wavefunction has none"):
        Diffusion(make_run(tmp_path / "complex", network={"complex": True}).simulation, SHORT)


def test_a_run_that_is_not_trained_is_refused(tmp_path, make_run):
    with pytest.raises(RunDirectoryError, match="holds no trained wavefunction yet"):
        make_run(tmp_path / "new").diffuse(SHORT)


@pytest.mark.parametrize("symbol", ["C", "Cl", "Kr"])
def test_heavy_atoms_get_as_much_imaginary_time_as_an_energy_takes(symbol):
    settings = DiffusionSettings().with_timesteps(Molecule.atom(symbol).charges)
    steps = ladder.Ladder(settings).progress()[1] / len(settings.timesteps)
    assert steps * settings.timesteps[-1] >= 2 * settings.window


@pytest.mark.parametrize(("generations", "short"), [(2999, True), (3000, False)])
def test_too_little_imaginary_time_is_said(generations, short):
    made = ladder.Ladder(DiffusionSettings(timesteps=(1e-3,), window=1.0, steps=generations))
    noise = 1e-3 * torch.randn(generations, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made.visits = [Visit(0, list(noise + 1), open=False)]
    said = "2999 generations are 3 per hartree of imaginary time, of 3 that an energy takes: choose steps=3000"
    assert made.point(0, [])["reason"] == said * short
