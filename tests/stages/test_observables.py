"""Observables in a run: asked for, measured, written, added later, and continued to the last bit."""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qmcnet import EvaluationSettings, Penalty, PretrainingSettings, Spring
from qmcnet.report.result import Result
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.fetch import fetch
from qmcnet.stages.optimization import Optimization
from qmcnet.states.measurements import expectations, local_matrices, make_operators

pytestmark = pytest.mark.usefixtures("any_series_is_an_estimate")
ALL = ["density", "dipole", "natural_orbitals", "pair", "radial", "spin"]
SETTINGS = {"pretraining": PretrainingSettings(steps=0), "steps": 4}
SHORT = EvaluationSettings(steps=20, min_steps=10, burn_in=3)
TWO = {"network": {"n_states": 2}, "evaluation": SHORT}
KINDS = {
    "one": {"evaluation": SHORT, "observables": ALL},
    "natural": TWO | {"observables": ["density", "natural_orbitals"]},
    "penalty": TWO | {"observables": ["density"], "objective": Penalty()},
}


def cube(path):
    """Read shape, volume of a voxel and values of a cube file."""
    lines = path.read_text().splitlines()
    n_atoms = int(lines[2].split()[0])
    rows = [lines[3 + i].split() for i in range(3)]
    shape, edges = [int(row[0]) for row in rows], [float(rows[i][1 + i]) for i in range(3)]
    values = np.array([float(word) for line in lines[6 + n_atoms :] for word in line.split()])
    return values.reshape(shape), np.prod(edges)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, make_run):
    """Directories and results of finished runs by what they computed."""
    made = {}

    def run(kind):
        if kind not in made:
            directory = tmp_path_factory.mktemp(kind)
            made[kind] = directory, make_run(directory, **SETTINGS | KINDS[kind]).train()
        return made[kind]

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_asked_for_is_in_the_result(kind, measured):
    directory, result = measured(kind)
    always = set() if kind == "one" else {"dipole", "spin"}
    expected = {*KINDS[kind]["observables"], *always} - {"density"}
    states = json.loads((directory / "result.json").read_text())["states"]
    assert len(states) == (1 if kind == "one" else 2)
    for state in states:
        assert set(ALL) & set(state) == expected
        assert list(state["dipole"]) == ["x", "y", "z"]
        assert list(state["spin"]) == ["s_squared"]
        assert isinstance(state["multiplicity"], str)
    assert Result.read(directory / "result.json").states == result.states
    assert result.metadata["observables"] == sorted(KINDS[kind]["observables"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_each_state_is_a_cube_file_that_holds_all_electrons(kind, measured):
    folder = measured(kind)[0]
    names = ["density.cube"] if kind == "one" else ["density_0.cube", "density_1.cube"]
    assert sorted(path.relative_to(folder) for path in folder.rglob("*.cube")) == list(map(Path, names))
    for name in names:
        values, volume = cube(folder / name)
        if kind == "one":
            assert (values >= 0).all()
        assert values.sum() * volume == pytest.approx(2, abs=0.02)


def test_a_run_without_the_density_writes_no_cube_file(uninterrupted):
    assert not list(uninterrupted.rglob("*.cube"))


@pytest.mark.parametrize("kind", ["one", "natural"])
def test_occupations_of_natural_orbitals_are_reported_in_descending_order(kind, measured):
    for state in measured(kind)[1].states:
        for spin in ("up", "down"):
            parts = [part for name, part in state["natural_orbitals"].items() if name.startswith(spin)]
            occupations = [part["value"] for part in parts]
            assert len(parts) > 1
            errors = [part["error"] for part in parts]
            assert min(errors) > 0
            # They are not sorted by their values, which would bias the first of them upwards.
            pairs = zip(pairwise(occupations), pairwise(errors), strict=True)
            assert all(first - second > -5 * math.hypot(*error) for (first, second), error in pairs)
            assert abs(sum(occupations) - 1) < 4 * sum(part["error"] ** 2 for part in parts) ** 0.5 + 0.2


def test_the_summary_of_one_state_has_a_line_for_each_observable_of_few_components(measured):
    lines = measured("one")[1].summary().splitlines()
    (state,) = measured("one")[1].states
    (dipole,) = [line for line in lines if line.startswith("dipole ")]
    (spin,) = [line for line in lines if line.startswith("spin ")]
    assert [word.split("(")[0] for word in dipole.split()[2::2]] == [
        f"{state['dipole'][axis]['value']:.4f}" for axis in "xyz"
    ]
    assert spin.split()[2].startswith(f"{state['spin']['s_squared']['value']:.4f}(")
    assert any(line.startswith("virial ratio ") for line in lines)
    assert not any(line.startswith(("radial", "pair", "natural_orbitals")) for line in lines)


def tags(directory):
    events = EventAccumulator(str(directory)).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_training_shows_the_observables_of_few_components(measured):
    found = tags(measured("one")[0])
    shown = {tag for tag in found if tag.split("/")[0] in ALL}
    assert shown == {"dipole/x", "dipole/y", "dipole/z", "spin/s_squared"}
    assert all(len(found[tag]) == 2 for tag in shown)  # logged every second of four steps


def measured_once(run, operators):
    """Expectation values at the walkers as they are."""
    states = run.states()
    return expectations(local_matrices(states, run.hamiltonian(states), operators), operators)


@pytest.mark.parametrize("penalty", [False, True])
def test_expectations_name_components_and_states(penalty, tmp_path, make_run):
    settings = {"objective": Penalty()} if penalty else {}
    several = make_run(tmp_path / "two", **SETTINGS | TWO | settings).simulation
    operators = make_operators(["spin", "dipole", "radial"], several.molecule, torch.device("cpu"))
    names = [*(f"dipole/{axis}" for axis in "xyz"), "spin/s_squared"]
    found = measured_once(several, operators)
    assert set(found) == {f"{name}_{state}" for name in names for state in range(2)}
    assert all(np.isfinite(value) for value in found.values())
    one = make_run(tmp_path / "one", **SETTINGS).simulation
    assert set(measured_once(one, operators)) == set(names)


def test_observables_change_no_number_of_the_training(tmp_path, make_run, measured):
    make_run(tmp_path, **SETTINGS | KINDS["one"] | {"observables": []}).train()
    assert (tmp_path / "train_stats.csv").read_text() == (measured("one")[0] / "train_stats.csv").read_text()


class Drawn:
    """An observable of random numbers."""

    name, components = "drawn", ("x",)

    def __call__(self, states):
        noise = states.drawn(lambda n, generator: torch.rand(n, 1, dtype=torch.float64, generator=generator))
        return states.times(noise)


def test_looking_does_not_change_the_random_numbers_to_come(tmp_path, make_run):
    stages = []
    for operators in ([], [Drawn()]):
        run = make_run(tmp_path, **SETTINGS).simulation
        stages.append(Optimization(run, Spring(run.ensemble), 3, operators=operators, every=1))
    for stage in stages:
        rows = [(stage.step, fetch([stage.advance()])[0]) for _ in range(3)]
        found = stage.record(rows).scalars
    assert 0 < found["drawn/x"] < 1
    first, second = (stage.simulation for stage in stages)
    assert torch.equal(first.generator.get_state(), second.generator.get_state())
    assert torch.equal(first.walkers.positions, second.walkers.positions)


def test_observables_are_added_to_a_finished_run(finished, make_run, uninterrupted, caplog):
    before = (finished / "train_stats.csv").read_text()
    result = make_run(finished, observables=["spin", "density"]).train()
    assert "these observables were not measured before: the evaluation starts again" in caplog.text
    assert (finished / "train_stats.csv").read_text() == before
    assert result.evaluation_steps == 16
    assert "spin" in json.loads((finished / "result.json").read_text())["states"][0]
    assert (finished / "density.cube").exists()
    stats = (finished / "evaluation" / "evaluation_stats.csv").read_text()
    assert len(stats.splitlines()) == 17
    assert stats == (uninterrupted / "evaluation" / "evaluation_stats.csv").read_text()


def test_what_was_measured_is_not_measured_again(tmp_path, make_run, measured, monkeypatch):
    directory = shutil.copytree(measured("one")[0], tmp_path / "copy")
    monkeypatch.setattr(Evaluation, "advance", lambda _: pytest.fail("computed again"))
    for names in (ALL, ["spin"], []):
        result = make_run(directory, **SETTINGS | KINDS["one"] | {"observables": names}).train()
        assert "spin" in result.states[0]


@pytest.mark.parametrize(("kind", "count"), [("one", 7), ("natural", 16), ("penalty", 16)])
def test_an_evaluation_with_observables_continues_to_the_last_bit(
    kind, count, tmp_path, make_run, measured, stop_at, newest
):
    stop_at(Evaluation, count)
    settings = SETTINGS | KINDS[kind]
    with pytest.raises(Interrupted):
        make_run(tmp_path, **settings).train()
    found = make_run(tmp_path, **settings).train()
    directory, expected = measured(kind)
    assert repr(found.states) == repr(expected.states)
    assert (found.energy, found.standard_error) == (expected.energy, expected.standard_error)
    cubes = list(directory.rglob("*.cube"))
    assert cubes
    for path in cubes:
        assert (tmp_path / path.relative_to(directory)).read_bytes() == path.read_bytes()


def test_an_added_evaluation_that_is_stopped_is_continued(finished, make_run, stop_at, tmp_path):
    whole = shutil.copytree(finished, tmp_path / "whole")
    expected = make_run(whole, observables=["spin"]).train()
    stop_at(Evaluation, 9)
    with pytest.raises(Interrupted):
        make_run(finished, observables=["spin"]).train()
    found = make_run(finished, observables=["spin"]).train()
    assert repr(found.states) == repr(expected.states)


def test_evaluations_of_other_observables_are_series_of_their_own(finished, make_run):
    settings = EvaluationSettings(steps=12, min_steps=10, burn_in=2)
    labels = {(): "burn_in=2", ("dipole", "spin"): "burn_in=2,dipole,spin"}
    for names, label in labels.items():
        run = make_run(finished, observables=names)
        assert settings.label(True, run.observables) == label
        result = run.evaluate(settings)
        assert (finished / "evaluation" / label / "result.json").exists()
        assert ("spin" in result.states[0]) == ("spin" in names)
    assert settings.label(False, ["spin"]) == "burn_in=2,averaged=false,spin"


def test_an_evaluation_writes_its_cube_files_beside_its_result(finished, make_run):
    make_run(finished, observables=["density"]).evaluate(EvaluationSettings(steps=10, min_steps=5, burn_in=1))
    values, volume = cube(finished / "evaluation" / "burn_in=1,density" / "density.cube")
    assert values.sum() * volume == pytest.approx(2, abs=0.1)
    assert len(list(finished.rglob("*.cube"))) == 1


def test_an_unknown_observable_is_refused(tmp_path, make_run):
    with pytest.raises(ValueError, match="observables='dipol' must be one of density, dipole, forces, natural"):
        make_run(tmp_path, observables=["spin", "dipol"])
