import csv
import json
import math

import pytest
import torch

from qmcnet import EvaluationSettings, Result
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.interruption import Interrupted
from qmcnet.stages import evaluation as module
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.pretraining import Pretraining
from qmcnet.statistics.window import choose_window

STEPS, WALKERS = 200, 16


@pytest.fixture
def evaluation(tmp_path, make_run):
    return Evaluation(make_run(tmp_path).simulation, EvaluationSettings(steps=STEPS))


@pytest.fixture
def noise():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(STEPS, WALKERS, generator=generator, dtype=torch.float64)


def rows(path):
    return list(csv.DictReader(path.open()))


def record(evaluation, series, kinetic=None):
    """Give an evaluation local energies (T, B), and kinetic energies, which are their negatives by default."""
    for energies, others in zip(series, -series if kinetic is None else kinetic, strict=True):
        named = {"energy": energies, "kinetic": others, "overlap": torch.ones_like(energies)}
        evaluation.averages.add({name: values[:, None, None, None] for name, values in named.items()})
    evaluation.step = len(series)
    return choose_window(evaluation.averages)


def test_a_stationary_series_is_used_whole(evaluation, noise):
    window = record(evaluation, noise)
    assert (window.stationary, window.discarded, window.nonfinite) == (True, 0, 0)
    assert window.total.mean == pytest.approx(noise.mean().item())


@pytest.mark.parametrize(("transient", "discarded"), [(30, 64), (80, 96)])
def test_a_transient_at_the_start_is_discarded(evaluation, noise, transient, discarded):
    noise[:transient] += torch.linspace(5, 1, transient, dtype=torch.float64)[:, None]
    window = record(evaluation, noise)
    assert (window.stationary, window.discarded) == (True, discarded)
    assert window.total.mean == pytest.approx(noise[discarded:].mean().item())


def test_a_drift_over_the_whole_series_is_no_estimate(evaluation, noise):
    assert not record(evaluation, noise + torch.linspace(0, 5, STEPS, dtype=torch.float64)[:, None]).stationary


@pytest.mark.parametrize("steps", [200, 550, 1000])
@pytest.mark.parametrize("transient", [0, 60])
def test_everything_is_averaged_over_the_same_samples(tmp_path, make_run, steps, transient):
    evaluation = Evaluation(make_run(tmp_path).simulation, EvaluationSettings(steps=steps))
    generator = torch.Generator().manual_seed(2)
    series = torch.randn(steps, WALKERS, generator=generator, dtype=torch.float64) - 2.9
    series[:transient] += torch.linspace(4, 1, transient, dtype=torch.float64)[:, None]
    series[-20, 3] = math.nan
    window = record(evaluation, series)
    kept = series[window.discarded :].nanmean().item()
    assert (window.discarded > 0) == (transient > 0)
    found = evaluation.conclude(tmp_path)
    (state,) = found["states"]
    assert found["energy"] == pytest.approx(kept, rel=1e-12)
    assert (found["energy"], found["standard_error"]) == (state["energy"]["value"], state["energy"]["error"])
    assert state["kinetic"]["value"] == pytest.approx(-kept, rel=1e-12)
    assert (found["discarded_steps"], found["evaluation_steps"], found["nonfinite"]) == (window.discarded, steps, 1)


def test_samples_that_are_not_finite_are_left_out_alone(evaluation, noise):
    poisoned = noise.clone()
    poisoned[3, 2], poisoned[4, 2], poisoned[7, 5] = math.nan, math.inf, -math.inf
    window = record(evaluation, poisoned)
    assert (window.nonfinite, window.total.n_walkers) == (3, WALKERS)
    assert window.total.mean == pytest.approx(noise[poisoned.isfinite()].mean().item())


def test_other_quantities_lose_their_own_samples_and_no_others(evaluation, noise):
    kinetic = noise.clone()
    kinetic[3, 2], noise[4, 2] = math.nan, math.nan
    window = record(evaluation, noise, kinetic)
    assert (window.nonfinite, window.lost, window.refused) == (1, {"kinetic": 1}, ())
    assert window.total.mean == pytest.approx(noise.nanmean().item())
    kept = noise.isfinite() & kinetic.isfinite()
    (state,) = evaluation.spectrum(window).states
    assert state["kinetic"]["value"] == pytest.approx(kinetic[kept].mean().item())
    assert any("1 samples of kinetic were not finite" in text for text in evaluation.spectrum(window).warnings)


def test_a_quantity_that_is_often_not_finite_is_refused_and_the_energy_stays(evaluation, noise):
    kinetic = torch.where(torch.arange(WALKERS) == 3, math.nan, noise)
    window = record(evaluation, noise, kinetic)
    assert (window.stationary, window.refused) == (True, ("kinetic",))
    (state,) = evaluation.spectrum(window).states
    assert state["energy"]["value"] == pytest.approx(noise.mean().item())
    assert state["kinetic"] == state["potential"] == {"value": None, "error": None}


@pytest.mark.parametrize("bad", [1, WALKERS])
def test_a_series_with_many_that_are_not_finite_is_no_estimate(evaluation, noise, bad, tmp_path):
    noise[:, :bad] = math.nan
    window = record(evaluation, noise)
    assert not window.stationary
    assert "of the local energies are not finite, at most 1 % may be" in window.reason
    assert window.nonfinite == bad * len(noise[window.discarded :])
    rest = {"trained_steps": 5, "reference": None, "distance": None, "wall_seconds": 1.0}
    rest |= {"seconds_per_step": None, "metadata": {}}
    result = Result(**evaluation.conclude(tmp_path), **rest)
    assert (result.energy, result.standard_error, result.states) == (None, None, [])
    assert result.summary() == f"no estimate: {window.reason}"


@pytest.mark.parametrize("drift", [0, 5])
def test_after_a_refusal_no_state_keeps_a_number(make_run, noise, tmp_path, drift):
    simulation = make_run(tmp_path).simulation
    evaluation = Evaluation(simulation, EvaluationSettings(steps=STEPS), ["density"])
    evaluation.grids["density"].add(simulation.states(), torch.ones(8, dtype=torch.bool))
    record(evaluation, noise + torch.linspace(0, drift, STEPS, dtype=torch.float64)[:, None])
    found = evaluation.conclude(tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert (names, len(found["states"])) == (([], 0) if drift else (["density.cube"], 1))
    assert found["overlaps"] is None
    assert (found["energy"] is None) == (found["standard_error"] is None) == (drift > 0)


def test_what_is_saved_does_not_grow_with_the_evaluation(tmp_path, make_run):
    sizes = []
    for steps in (64, 640):
        run = make_run(tmp_path, evaluation=EvaluationSettings(steps=steps, burn_in=0), observables=["density"])
        stage = run.parts()[-1].make()
        states = run.simulation.states()
        for _ in range(steps):
            stage.averages.add({name: torch.zeros(8, 1, 1, 1).double() for name in ("energy", "kinetic")})
            for measurement in stage.measurements.values():
                measurement.add(states, torch.ones(8, dtype=torch.bool))
        torch.save(stage.state_dict(), tmp_path / "state.pt")
        sizes.append((tmp_path / "state.pt").stat().st_size)
    assert sizes[1] <= sizes[0]


def test_parameters_and_widths_are_frozen_while_recording(finished, make_run, newest):
    run = make_run(finished).load_trained()
    before = {name: value.clone() for name, value in run.simulation.ensemble.state_dict().items()}
    trained_width = run.simulation.walkers.width.item()
    run.evaluate(EvaluationSettings(steps=30, min_steps=10, burn_in=5), finished / "again")
    state = newest(finished / "again")
    assert all(torch.equal(state["simulation"]["ansatz"][name], value) for name, value in before.items())
    table = rows(finished / "again" / "evaluation_stats.csv")
    assert [int(row["step"]) for row in table] == list(range(1, 31))
    widths = {float(row["width"]) for row in table}
    assert len(widths) == 1
    assert widths != {trained_width}


@pytest.mark.parametrize(("min_steps", "made"), [(50, 50), (60, 60), (1, 50)])
def test_the_error_target_ends_the_evaluation(uninterrupted, tmp_path, make_run, min_steps, made):
    settings = EvaluationSettings(steps=150, target_error=100.0, min_steps=min_steps, burn_in=2)
    result = make_run(uninterrupted).evaluate(settings, tmp_path)
    assert result.evaluation_steps == made
    assert result.standard_error < 100


def test_the_error_is_looked_at_after_a_quarter_more_steps_each_time(evaluation, monkeypatch):
    evaluation.settings = EvaluationSettings(steps=200, target_error=1e-9, min_steps=60, burn_in=0)
    looks = []
    unknown = choose_window(evaluation.averages)
    monkeypatch.setattr(module, "choose_window", lambda averages: looks.append(averages.bins.n_steps) or unknown)
    while not evaluation.finished():
        evaluation.advance()
    assert looks == [60, 75, 94, 118, 148, 185]


def test_the_target_is_that_of_every_state(evaluation, noise):
    generator = torch.Generator().manual_seed(5)
    scale = torch.tensor([1.0, 4.0], dtype=torch.float64)
    for _ in range(STEPS):
        local = torch.diag_embed(torch.randn(WALKERS, 2, dtype=torch.float64, generator=generator) * scale)
        evaluation.averages.add({"energy": local[:, None] + torch.diag(torch.tensor([-9.0, 0.0], dtype=torch.float64))})
    evaluation.step = 60
    errors = [state.standard_error for state in choose_window(evaluation.averages).states]
    assert errors[1] > 3 * errors[0]
    for target, reached in ((0.9 * errors[1], False), (1.1 * errors[1], True)):
        evaluation.settings = EvaluationSettings(steps=200, target_error=target, min_steps=60)
        assert evaluation._error_reached() == reached


def test_an_error_target_out_of_reach_ends_at_the_step_limit(uninterrupted, tmp_path, make_run):
    settings = EvaluationSettings(steps=60, target_error=1e-9, min_steps=1, burn_in=2)
    assert make_run(uninterrupted).evaluate(settings, tmp_path).evaluation_steps == 60


def test_an_evaluation_has_its_own_directory_and_leaves_the_run_alone(finished, make_run):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    settings = EvaluationSettings(steps=20, target_error=0.5, min_steps=10, burn_in=2)
    result = make_run(finished).evaluate(settings)
    folder = finished / "evaluation" / "burn_in=2"
    content = json.loads((folder / "result.json").read_text())
    assert (content["energy"], content["trained_steps"]) == (result.energy, 5)
    assert all(path.read_bytes() == old for path, old in before.items())


def test_an_evaluation_takes_random_numbers_of_its_own(finished, make_run):
    make_run(finished).evaluate(EvaluationSettings(steps=16, min_steps=6, burn_in=2), finished / "again")
    first, second = (
        rows(finished / "evaluation" / "evaluation_stats.csv"),
        rows(finished / "again" / "evaluation_stats.csv"),
    )
    assert len(first) == len(second)
    assert not {row["energy"] for row in first} & {row["energy"] for row in second}


def test_a_finished_evaluation_is_not_repeated(finished, make_run, monkeypatch):
    settings = EvaluationSettings(steps=16, min_steps=6, burn_in=2)
    first = make_run(finished).evaluate(settings)
    monkeypatch.setattr(Evaluation, "advance", lambda _: pytest.fail("computed again"))
    assert make_run(finished).evaluate(settings).energy == first.energy


@pytest.mark.parametrize("stage", [None, Pretraining])
def test_a_run_that_is_not_trained_is_refused(tmp_path, make_run, stop_at, stage):
    if stage is not None:
        stop_at(stage, 2)
        with pytest.raises(Interrupted):
            make_run(tmp_path).train()
    with pytest.raises(RunDirectoryError, match="no trained wavefunction yet; finish qmcnet-train first"):
        make_run(tmp_path).evaluate(EvaluationSettings(steps=10))


def test_a_further_trained_run_is_evaluated_anew(tmp_path, make_run, stop_at):
    settings = EvaluationSettings(steps=20, min_steps=10, burn_in=2)
    make_run(tmp_path, steps=2).train()
    first = make_run(tmp_path, steps=2).evaluate(settings, tmp_path / "again")
    make_run(tmp_path, steps=4).train()
    second = make_run(tmp_path, steps=4).evaluate(settings, tmp_path / "again")
    assert (first.trained_steps, second.trained_steps) == (2, 4)
    assert (tmp_path / "again" / "result-00000002-000020.json").exists()


def test_evaluation_can_be_turned_off(tmp_path, make_run, monkeypatch):
    monkeypatch.setattr(Evaluation, "advance", lambda _: pytest.fail("evaluated"))
    result = make_run(tmp_path, evaluation=EvaluationSettings(steps=0)).train()
    assert (result.energy, result.trained_steps, result.evaluation_steps) == (None, 5, 0)
    assert "nothing was recorded" in result.summary()
    json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"steps": -1}, "steps=-1 must be at least 0"), ({"target_error": 0.0}, "target_error=0.0")],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**settings)
