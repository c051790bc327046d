import shutil
import signal

import pytest
import torch

from qmcnet import VMC, EvaluationSettings, FermiNet, Metropolis, Molecule, PretrainingSettings, Spring
from qmcnet.run.checkpoint import Checkpoints
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.statistics import estimate
from qmcnet.statistics.stationarity import Stationarity


@pytest.fixture(scope="session")
def make_run():
    """A helium run of a quarter of a second; every fetch of the statistics writes a checkpoint."""

    def make(directory, symbol="He", network=None, molecule=None, **settings):
        sizes = {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2, "dtype": torch.float64}
        defaults = {
            "optimizer": Spring,
            "sampler": Metropolis(steps=3),
            "pretraining": PretrainingSettings(steps=4, basis="sto-3g", learning_rate=3e-3),
            "burn_in": BurnInSettings(min_sweeps=4, max_sweeps=5),
            "evaluation": EvaluationSettings(steps=16, min_steps=6, burn_in=2),
            "logging": LoggingSettings(every=2),
            "checkpoints": CheckpointSettings(seconds=0),
            "steps": 5,
            "batch_size": 8,
            "device": "cpu",
        }
        ansatz = FermiNet(molecule or Molecule.atom(symbol), **(sizes | (network or {})))
        return VMC(ansatz, directory, **(defaults | settings))

    return make


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, make_run):
    """Directory of a finished run, not to be changed."""
    directory = tmp_path_factory.mktemp("uninterrupted")
    make_run(directory).train()
    return directory


@pytest.fixture(scope="module")
def any_series_is_an_estimate():
    """Accept the shortest evaluation: not whether a number may be quoted is tested, but what it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimate, "stationarity", lambda _: Stationarity(True, 0.0, ""))
        yield


@pytest.fixture
def finished(tmp_path, uninterrupted):
    """A copy of the finished run, free to be changed."""
    return shutil.copytree(uninterrupted, tmp_path / "finished")


@pytest.fixture(scope="session")
def newest():
    """Content of the newest checkpoint of a run directory."""

    def load(directory):
        found = Checkpoints(directory / "checkpoints", 1).load_newest()
        assert found is not None
        return found.state

    return load


@pytest.fixture
def stop_at(monkeypatch):
    """Deliver a signal while a stage makes its `count`-th step of this process."""

    def install(stage, count, number=signal.SIGTERM):
        steps, advance = iter(range(1, 10**6)), stage.advance

        def advance_and_stop(self):
            row = advance(self)
            if next(steps) == count:
                signal.raise_signal(number)
            return row

        monkeypatch.setattr(stage, "advance", advance_and_stop)

    return install
