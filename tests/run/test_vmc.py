import json
import math
from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from qmcnet import (
    AveragingSettings,
    Clipping,
    EvaluationSettings,
    FermiNet,
    FirstOrder,
    Metropolis,
    Molecule,
    Schedule,
    Spring,
    TorchFuncLaplacian,
    build,
    load,
)
from qmcnet.compute.device import choose_device
from qmcnet.report.result import Result
from qmcnet.run.description import describe
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.interruption import Interrupted
from qmcnet.run.vmc import VMC
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.statistics import estimate
from qmcnet.statistics.stationarity import Stationarity


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def forbid_steps(monkeypatch):
    for stage in (Optimization, Evaluation):
        monkeypatch.setattr(stage, "advance", lambda _: pytest.fail("computed something"))


def tags(directory):
    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return set(accumulator.Tags()["scalars"])


@pytest.mark.parametrize("steps", [5, 3, 0])
def test_a_finished_run_returns_its_result_without_computing(finished, make_run, monkeypatch, caplog, steps):
    before = contents(finished)
    forbid_steps(monkeypatch)
    with caplog.at_level("INFO"):
        result = make_run(finished, steps=steps).train()
    assert result == Result.read(finished / "result.json")
    assert result.trained_steps == 5
    assert "this run is finished: 5 steps trained" in caplog.text
    assert contents(finished) == before


def test_files_of_a_run(uninterrupted):
    found = {path.name for path in uninterrupted.iterdir()}
    assert found >= {"config.yaml", "train_stats.csv", "checkpoints", "result.json", "evaluation"}
    assert (uninterrupted / "train_stats.csv").read_text().startswith("step,energy,ewmean,ewvar,pmove,")


def test_tensorboard_groups_of_a_run(uninterrupted):
    found = tags(uninterrupted)
    assert {tag.split("/")[0] for tag in found} == {"energy", "local_energy", "sampling", "opt", "timing"}
    assert found >= {"energy/mean", "energy/ewmean", "local_energy/variance", "sampling/pmove", "opt/learning_rate"}
    assert found >= {"opt/momentum", "opt/outliers", "opt/kernel_lifted", "opt/update_norm"}
    assert tags(uninterrupted / "pretraining") >= {"pretraining/mse", "pretraining/pmove"}
    assert tags(uninterrupted / "evaluation") >= {"evaluation/energy", "evaluation/pmove"}
    assert "hparam/energy" in tags(uninterrupted / "hparams")


def test_another_configuration_is_refused_with_the_difference(finished, make_run):
    before = contents(finished)
    other = make_run(finished, batch_size=18, optimizer=lambda ansatz: Spring(ansatz, damping=0.5))
    with pytest.raises(RunDirectoryError) as error:
        other.train()
    assert "  batch_size: 8 -> 18\n" in str(error.value)
    assert "  optimizer.damping: 0.001 -> 0.5\n" in str(error.value)
    assert str(error.value).count("->") == 2
    assert contents(finished) == before


def test_without_resume_a_used_directory_is_refused(finished, make_run):
    before = contents(finished)
    with pytest.raises(RunDirectoryError, match="resume=false needs an empty directory, or overwrite=true"):
        make_run(finished, resume=False).train()
    assert contents(finished) == before


def test_without_resume_an_empty_directory_is_taken(tmp_path, make_run):
    assert make_run(tmp_path, resume=False).train().trained_steps == 5


def test_overwrite_moves_the_earlier_run_aside_and_loses_nothing(finished, make_run):
    before = contents(finished)
    for seed, name in ((1, "finished.old"), (2, "finished.old2")):
        result = make_run(finished, resume=False, overwrite=True, seed=seed, steps=2).train()
        assert result.trained_steps == 2
        aside = contents(finished.with_name(name))
        assert {path: old for path, old in before.items() if path.name != ".lock"} == aside
        before = contents(finished)


def test_a_series_that_drifts_gives_no_energy(tmp_path, make_run, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(estimate, "stationarity", lambda _: Stationarity(False, 9.0, "drift of +9.0 standard errors"))
        result = make_run(tmp_path).train()
    assert (result.energy, result.standard_error, result.stationary) == (None, None, False)
    content = json.loads((tmp_path / "result.json").read_text())
    assert content["energy"] is None
    assert content["reason"]
    # The verdict is not final: the same command judges the series again.
    monkeypatch.setattr(estimate, "stationarity", lambda _: Stationarity(True, 0.0, ""))
    assert math.isfinite(make_run(tmp_path).train().energy)


def test_fewer_steps_than_trained_evaluates_what_there_is(tmp_path, make_run, stop_at):
    stop_at(Optimization, 4)
    with pytest.raises(Interrupted):
        make_run(tmp_path).train()
    assert make_run(tmp_path, steps=2).train().trained_steps == 4


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "network": {"full_determinants": False, "envelope": "diagonal", "jastrow": "cusp", "dtype": torch.float32},
            "optimizer": lambda ansatz: FirstOrder(ansatz, method=partial(torch.optim.AdamW, weight_decay=0.1)),
            "clipping": Clipping(7.0, "mean", "tanh"),
            "schedule": Schedule("cosine", 30, 2),
            "averaging": AveragingSettings("exponential", 0.8, 1),
            "sampler": Metropolis(steps=3, n_blocks=None),
            "laplacian": TorchFuncLaplacian(),
            "seed": 5,
            "steps": 2,
            "evaluation": EvaluationSettings(steps=3, min_steps=1, burn_in=0),
        },
    ],
)
def test_the_configuration_rebuilds_an_identical_run(tmp_path, make_run, settings):
    original = make_run(tmp_path / "original", **settings)
    rebuilt = build(OmegaConf.create(original.config), tmp_path / "rebuilt")
    assert rebuilt.config == original.config
    rebuilt.train()
    original.train()
    for table in ("train_stats.csv", "evaluation/evaluation_stats.csv"):
        assert (tmp_path / "rebuilt" / table).read_text() == (tmp_path / "original" / table).read_text()


def test_a_finished_run_is_loaded_with_its_parameters_and_walkers(uninterrupted, newest):
    run = load(uninterrupted, device="cpu")
    state = newest(uninterrupted)["simulation"]
    assert torch.equal(run.simulation.walkers.positions, state["walkers"]["positions"])
    assert all(
        torch.equal(value, state["ansatz"][name]) for name, value in run.simulation.ensemble.state_dict().items()
    )
    sign, log_abs_psi = run.simulation.ensemble(
        torch.ones(1, 2, 3, dtype=torch.float64) * torch.tensor([[[0.3], [0.7]]])
    )
    assert sign.abs() == 1
    assert log_abs_psi.isfinite()


def test_a_directory_without_a_usable_checkpoint_cannot_be_loaded(tmp_path, make_run):
    with pytest.raises(RunDirectoryError, match="holds no usable checkpoint"):
        make_run(tmp_path).load_trained()


def test_assembling_a_run_writes_nothing(tmp_path, make_run):
    run = make_run(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "He" in run.summary()
    assert "float64" in run.summary()
    assert str(sum(parameter.numel() for parameter in run.ansatz.parameters())) in run.summary()


def test_the_hash_is_that_of_the_identity(tmp_path, make_run, uninterrupted):
    longer = make_run(tmp_path / "longer", steps=6).train().metadata["config_hash"]
    other = make_run(tmp_path / "other", seed=3, steps=1).train().metadata["config_hash"]
    assert Result.read(uninterrupted / "result.json").metadata["config_hash"] == longer != other


def test_the_directory_is_claimed_before_anything_else(finished, make_run):
    claims = []
    with pytest.raises(RunDirectoryError):
        make_run(finished, seed=9).train(lambda: claims.append(1))
    make_run(finished, steps=6).train(lambda: claims.append(2))
    assert claims == [2]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "mps", "", "cpu:3"])
def test_an_unknown_device_is_refused(device):
    with pytest.raises(ValueError, match="must be auto, cpu, cuda or cuda:N"):
        choose_device(device)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device='cuda'.*no CUDA device"):
        choose_device("cuda")


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"steps": -1}, {"seed": -1}])
def test_settings_out_of_range(tmp_path, settings):
    with pytest.raises(ValueError, match="{}={} must".format(*next(iter(settings.items())))):
        VMC(FermiNet(Molecule.atom("H"), n_layers=1, hidden_one=2, n_determinants=1), tmp_path, **settings)


def test_describe_names_the_class_and_its_settings():
    described = describe(Metropolis(steps=7))
    assert described["_target_"] == "Metropolis"
    assert described["steps"] == 7
    assert "_partial_" not in described
    assert describe(Metropolis(), partial=True)["_partial_"] is True


def test_a_system_of_one_electron(tmp_path, make_run):
    result = make_run(tmp_path, "H").train()
    assert result.reference["energy"] == pytest.approx(-0.5, abs=1e-12)
    assert math.isfinite(result.variance)


def test_a_finished_run_hands_over_the_trained_wavefunction(finished, make_run):
    first = make_run(finished)
    place = first.simulation.walkers.positions, first.molecule.nuclei
    untrained = first.ansatz(*place)[1]
    first.train()
    assert torch.equal(first.ansatz(*place)[1], load(finished, device="cpu").ansatz(*place)[1])
    assert not torch.equal(first.ansatz(*place)[1], untrained)


def test_a_result_without_checkpoints_still_says_whose_run_it_is(finished, make_run):
    for path in (finished / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunDirectoryError, match="batch_size: 8 -> 20"):
        make_run(finished, batch_size=20).train()
    with pytest.raises(RunDirectoryError, match="already holds a run"):
        make_run(finished, resume=False).train()


def test_checkpoints_without_their_configuration_are_not_continued(finished, make_run):
    (finished / "config.yaml").unlink()
    with pytest.raises(RunDirectoryError, match="parts of a run without its config"):
        make_run(finished).train()


def test_a_longer_evaluation_continues_a_finished_run(finished, make_run):
    first = make_run(finished).train()
    longer = make_run(finished, evaluation=EvaluationSettings(steps=24, min_steps=6, burn_in=2)).train()
    assert (first.evaluation_steps, longer.evaluation_steps) == (16, 24)
    assert longer.trained_steps == first.trained_steps
    assert (finished / "result-00000005-000016.json").exists()


@pytest.mark.parametrize(("ecp", "width"), [(None, 10.0), ("ccecp", 100.0)])
def test_the_window_of_local_energies_follows_from_the_potentials_of_the_system(ecp, width):
    molecule = Molecule.atom("Be").with_ecp(ecp)
    small = FermiNet(molecule, n_layers=1, hidden_one=4, hidden_two=2, n_determinants=1)
    run = VMC(small, "unused", batch_size=4, steps=1, device="cpu")
    stage = Optimization(run.simulation, run.optimizer, 1, run.clipping)
    assert stage.clipping == Clipping(width=width)
