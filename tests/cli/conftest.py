import importlib
import sys

import pytest
from composing import composed_once, read
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from qmcnet.cli import dmc, evaluate, info, plot, relax, report, sweep, train
from qmcnet.config.names import shipped
from qmcnet.config.naming import config_directory
from qmcnet.statistics import estimate
from qmcnet.statistics.stationarity import Stationarity

SETTINGS = [
    "+system=H2",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=32",
    "sampler.steps=5",
    "pretraining.steps=0",
    "burn_in.min_sweeps=8",
    "burn_in.max_sweeps=8",
    "evaluation.burn_in=8",
    "evaluation.steps=30",
    "device=cpu",
]


LATE = [
    "torch._dynamo",
    "torch.utils.tensorboard",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "ase.io.extxyz",
    "pyscf.data.elements",
    "pyscf.gto.basis",
    "pyscf.hessian.uhf",
    "pyscf.mcscf",
    "pyscf.scf.stability",
    "qmcnet.operators.natural_orbitals",
]


def command_of(command, overrides, reports):
    """Be a process that was started by a command, to which any series is long enough for an estimate."""
    estimate.stationarity = lambda _: Stationarity(True, 0.0, "")
    ConfigLoaderImpl.load_configuration = composed_once(ConfigLoaderImpl.load_configuration)
    if not reports:  # which take longer than the runs of most tests
        for module in (train, evaluate, dmc, sweep):
            module.report_at_end = lambda *_, **__: None
    sys.argv = [f"qmcnet-{command}", *map(str, overrides)]
    commands = {"train": train, "evaluate": evaluate, "dmc": dmc, "sweep": sweep, "info": info, "relax": relax}
    (commands | {"report": report, "plot": plot})[command].main()


class CommandLine:
    """Runs the commands as a user does, in processes of their own."""

    settings = SETTINGS

    def __init__(self, folder, fork, reports=False):
        self.folder, self.fork, self.reports = folder, fork, reports

    def begin(self, command, *overrides):
        return self.fork(command_of, command, overrides, self.reports, folder=self.folder)

    def run(self, command, *overrides):
        return self.begin(command, *overrides).wait()

    def train(self, *overrides):
        return self.run("train", *self.settings, *overrides)


@pytest.fixture(scope="session")
def imported():
    """What commands import when they need it, so that no fork pays for it again."""
    for name in LATE:
        importlib.import_module(name)
    read("config")  # with which Hydra finds its plugins
    for group in config_directory().iterdir():
        shipped(group.name)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory, fork, imported):
    return CommandLine(tmp_path_factory.mktemp("command_line"), fork)
