import shutil

import pytest
import torch

from qmcnet import VMC, EvaluationSettings, FermiNet, Metropolis, Molecule, PretrainingSettings
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.statistics import estimate
from qmcnet.statistics.stationarity import Stationarity


@pytest.fixture(scope="session")
def hydrogen():
    """The smallest run there is: one electron, eight walkers."""

    def make(directory, **settings):
        sizes = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1, "dtype": torch.float64}
        defaults = {
            "sampler": Metropolis(steps=1),
            "pretraining": PretrainingSettings(steps=2, basis="sto-3g"),
            "burn_in": BurnInSettings(min_sweeps=2, max_sweeps=2),
            "evaluation": EvaluationSettings(steps=4, min_steps=4, burn_in=1),
            "logging": LoggingSettings(every=2),
            "checkpoints": CheckpointSettings(seconds=0),
            "steps": 6,
            "batch_size": 8,
            "device": "cpu",
        }
        return VMC(FermiNet(Molecule.atom("H"), **sizes), directory, **(defaults | settings))

    return make


def accept_any_series(patch):
    """Accept the shortest evaluation, so that there are energies to compare."""
    patch.setattr(estimate, "stationarity", lambda _: Stationarity(True, 0.0, ""))


@pytest.fixture(autouse=True)
def any_series_is_an_estimate(monkeypatch):
    """Do so in all tests of runs."""
    accept_any_series(monkeypatch)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, hydrogen):
    """Directory of a finished run, not to be changed."""
    directory = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        accept_any_series(patch)
        hydrogen(directory).train()
    return directory


@pytest.fixture
def finished(trained, tmp_path):
    """A copy of the finished run."""
    return shutil.copytree(trained, tmp_path / "run")
