"""What happens to a run whose numbers go bad: recovery, and the end of it."""

import json
import math

import pytest
import torch

from qmcnet import EvaluationSettings, FirstOrder, MolecularHamiltonian
from qmcnet.operators import LocalEnergy
from qmcnet.optimizers import least_squares
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.postmortem import Diverged
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.pretraining import Pretraining


@pytest.fixture
def after_step(monkeypatch):
    """Call a function once the stage has made certain steps of this process, counting repeated ones."""

    def install(stage, counts, poison):
        steps, advance = iter(range(1, 10**6)), stage.advance

        def advance_and_poison(self):
            row = advance(self)
            if next(steps) in counts:
                poison(self.simulation)
            return row

        monkeypatch.setattr(stage, "advance", advance_and_poison)

    return install


@pytest.fixture
def poison_energy(monkeypatch):
    """Make the local energy of some walkers NaN at certain evaluations of this process."""

    def install(counts, walkers):
        calls, forward = iter(range(1, 10**6)), MolecularHamiltonian.forward

        def poisoned(self, states):
            energy = forward(self, states)
            if next(calls) in counts:
                energy.terms["kinetic"][walkers] = math.nan
            return energy

        monkeypatch.setattr(MolecularHamiltonian, "forward", poisoned)

    return install


@torch.no_grad()
def spoil_parameters(simulation):
    simulation.ensemble.network.head.orbitals.linear[0].weight[0, 0] = math.nan


def finite(state):
    """Whether every number of a checkpoint is finite."""
    if isinstance(state, dict):
        return all(map(finite, state.values()))
    if isinstance(state, list | tuple):
        return all(map(finite, state))
    return not isinstance(state, torch.Tensor) or bool(state.isfinite().all())


def table(directory):
    header, *lines = (directory / "train_stats.csv").read_text().splitlines()
    return [dict(zip(header.split(","), map(float, line.split(",")), strict=True)) for line in lines]


# With statistics fetched every second step: poison seen in the same fetch, and poison at the very end of one.
@pytest.mark.parametrize(
    ("stage", "count"), [(Optimization, 3), (Optimization, 2), (Optimization, 5), (Pretraining, 2)]
)
def test_poisoned_parameters_are_rolled_back_and_the_run_goes_on(
    tmp_path, make_run, newest, after_step, caplog, stage, count
):
    after_step(stage, {count}, spoil_parameters)
    result = make_run(tmp_path).train()
    assert "with a new random seed (retry 1 of 3)" in caplog.text
    assert "head.orbitals.linear.0.weight" in caplog.text
    assert result.trained_steps == 5
    assert [row["step"] for row in table(tmp_path)] == [1, 2, 3, 4, 5]
    assert all(finite(torch.load(path, weights_only=True)) for path in (tmp_path / "checkpoints").glob("*.pt"))
    assert finite(newest(tmp_path))


def test_the_retry_takes_other_random_numbers(tmp_path, make_run, poison_energy):
    make_run(tmp_path / "healthy").train()
    poison_energy({4}, slice(None))
    make_run(tmp_path / "sick").train()
    healthy, sick = table(tmp_path / "healthy"), table(tmp_path / "sick")
    assert sick[:2] == healthy[:2]
    assert sick[2]["energy"] != healthy[2]["energy"]


def test_lost_energies_are_rolled_back_without_a_bad_parameter(tmp_path, make_run, poison_energy):
    poison_energy({3}, slice(None))
    make_run(tmp_path).train()
    assert all(math.isfinite(row["energy"]) for row in table(tmp_path))
    report = json.loads((tmp_path / "postmortem" / "optimization-00000003.json").read_text())
    assert report["stage"] == "optimization"
    assert report["bad_parameters"] == []


def test_a_lost_evaluation_is_rolled_back(tmp_path, make_run, poison_energy):
    poison_energy({5 + 8}, slice(None))
    result = make_run(tmp_path).train()
    assert (tmp_path / "postmortem" / "evaluation-00000008.json").exists()
    assert (result.evaluation_steps, result.nonfinite) == (16, 0)


def test_persistent_poison_ends_the_run_with_a_good_newest_checkpoint(tmp_path, make_run, newest, after_step):
    after_step(Optimization, range(3, 1000), spoil_parameters)
    with pytest.raises(Diverged, match=r"optimization step \d is not finite after 3 retries.*optimizer.learning_rate"):
        make_run(tmp_path).train()
    state = newest(tmp_path)
    assert finite(state)
    assert (state["stage"], state["made"]["optimization"]) == ("optimization", 0)
    assert finite(torch.load(tmp_path / "postmortem" / "00000009-optimization-00000002.pt", weights_only=True))
    assert table(tmp_path) == []
    assert not (tmp_path / "result.json").exists()


def test_a_run_that_diverged_can_be_continued_once_the_cause_is_gone(tmp_path, make_run, monkeypatch, after_step):
    with monkeypatch.context() as patched:
        advance = Optimization.advance
        patched.setattr(Optimization, "advance", lambda stage: advance(stage) | {"energy": math.nan})
        with pytest.raises(Diverged):
            make_run(tmp_path).train()
    assert make_run(tmp_path).train().trained_steps == 5


@pytest.mark.parametrize("retries", [0, 1])
def test_the_number_of_retries_is_a_setting(tmp_path, make_run, after_step, caplog, retries):
    after_step(Optimization, range(1000), spoil_parameters)
    with pytest.raises(Diverged, match=f"after {retries} retries"):
        make_run(tmp_path, checkpoints=CheckpointSettings(seconds=0, max_retries=retries)).train()
    assert caplog.text.count("going back to") == retries


def test_retries_are_counted_anew_after_progress(tmp_path, make_run, poison_energy, caplog):
    # Evaluations: steps 1 2, 3 (bad) 4, the post-mortem, 3 4 again, 5 (bad)
    poison_energy({3, 8}, slice(None))
    make_run(tmp_path, checkpoints=CheckpointSettings(seconds=0, max_retries=1)).train()
    assert caplog.text.count("retry 1 of 1") == 2


def test_an_optimizer_that_overflows_leaves_a_good_checkpoint(tmp_path, make_run, newest):
    wild = {"optimizer": lambda ansatz: FirstOrder(ansatz, method=torch.optim.SGD, learning_rate=1e308)}
    with pytest.raises(Diverged):
        make_run(tmp_path, logging=LoggingSettings(every=1), **wild).train()
    assert finite(newest(tmp_path))


def test_kernels_that_rounding_made_indefinite_are_reported_once_and_counted(tmp_path, make_run, monkeypatch, caplog):
    calls, solve = iter(range(1, 10**6)), least_squares.solve_definite

    def lifted_now_and_then(matrix, right, rounding):
        return solve(matrix, right, rounding)[0], torch.tensor(next(calls) in (2, 5))

    monkeypatch.setattr(least_squares, "solve_definite", lifted_now_and_then)
    make_run(tmp_path).train()
    assert [row["kernel_lifted"] for row in table(tmp_path)] == [0, 1, 0, 0, 1]
    assert caplog.text.count("optimization up to step 2: rounding made 1 kernels of the optimiser indefinite") == 1
    assert caplog.text.count("indefinite") == 1


def solutions_lost_at(monkeypatch, lost):
    """Let the factorisations with these numbers fail."""
    calls, solve = iter(range(1, 10**6)), least_squares.solve_definite

    def failing(matrix, right, rounding):
        solution, indefinite = solve(matrix, right, rounding)
        return (solution * math.nan if next(calls) in lost else solution), indefinite

    monkeypatch.setattr(least_squares, "solve_definite", failing)


def test_updates_that_were_left_out_are_reported_once_and_counted(tmp_path, make_run, monkeypatch, caplog):
    solutions_lost_at(monkeypatch, {2, 5})
    make_run(tmp_path, logging=LoggingSettings(every=5)).train()
    rows = table(tmp_path)
    assert [row["skipped"] for row in rows] == [0, 1, 0, 0, 1]
    assert [row["update_norm"] == 0 for row in rows] == [False, True, False, False, True]
    assert caplog.text.count("optimization up to step 5: 2 updates were left out") == 1
    assert caplog.text.count("going back to") == 0


def test_a_run_without_a_single_update_gives_up(tmp_path, make_run, monkeypatch):
    solutions_lost_at(monkeypatch, range(10**6))
    with pytest.raises(Diverged, match="is not finite after"):
        make_run(tmp_path).train()


@pytest.mark.parametrize("counts", [{2}, range(1000)])
def test_single_walkers_that_are_not_finite_are_counted_and_not_fatal(
    tmp_path, make_run, poison_energy, caplog, counts
):
    poison_energy(counts, slice(3, 4))
    result = make_run(tmp_path).train()
    rows = table(tmp_path)
    assert [row["nonfinite"] for row in rows] == [float(step in counts) for step in range(1, 6)]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert "going back" not in caplog.text
    assert result.nonfinite == (16 if len(counts) > 1 else 0)
    # A walker in eight is more than the share of samples that an estimate may lose.
    assert math.isfinite(result.variance) == (len(counts) == 1)


def test_a_walker_lost_in_the_evaluation_is_left_out_of_the_estimate(tmp_path, make_run, poison_energy):
    poison_energy({5 + 8}, slice(3, 5))
    result = make_run(tmp_path, evaluation=EvaluationSettings(steps=40, min_steps=10, burn_in=2)).train()
    assert result.nonfinite == 2
    assert result.n_effective * result.tau == pytest.approx(8 * (40 - result.discarded_steps), rel=0.01)


@pytest.mark.parametrize("every", [3, 100])
def test_every_step_is_recorded_however_seldom_statistics_are_fetched(tmp_path, make_run, every):
    make_run(tmp_path, logging=LoggingSettings(every=every)).train()
    assert [row["step"] for row in table(tmp_path)] == [1, 2, 3, 4, 5]


def test_the_exponential_mean_is_that_of_the_energies(tmp_path, make_run):
    make_run(tmp_path).train()
    rows = table(tmp_path)
    assert rows[0]["ewmean"] == rows[0]["energy"]
    assert rows[1]["ewmean"] == pytest.approx((rows[0]["energy"] + rows[1]["energy"]) / 2)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match=r"^every=0 must be at least 1"):
        LoggingSettings(every=0)


def test_poison_of_the_last_step_of_the_evaluation_is_seen(tmp_path, make_run, after_step, caplog):
    def lose_walkers(simulation):
        simulation.walkers = simulation.walkers.replace(positions=simulation.walkers.positions * math.nan)

    after_step(Evaluation, {18}, lose_walkers)
    make_run(tmp_path).train()
    assert "going back to" in caplog.text


def test_local_energy_splits_are_what_the_poison_assumes():
    part = torch.ones(2, 1, 1, dtype=torch.float64)
    energy = LocalEnergy({"kinetic": part.clone(), "first": part, "second": part}, part)
    assert energy.total.tolist() == [3, 3]
    energy.terms["kinetic"][1] = math.nan
    assert energy.total.isnan().tolist() == [False, True]
