import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmcnet.cli import evaluate, train

SETTINGS = [
    "+system=H2",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=32",
    "pretraining.steps=0",
    "burn_in.min_sweeps=20",
    "burn_in.max_sweeps=20",
    "evaluation.burn_in=20",
    "evaluation.steps=200",
    "device=cpu",
]


def command_of(command, overrides):
    """Be a process that was started by a command."""
    sys.argv = [f"qmcnet-{command}", *map(str, overrides)]
    {"train": train, "evaluate": evaluate}[command].main()


class CommandLine:
    """Runs the commands as a user does, in processes of their own."""

    settings = SETTINGS

    def __init__(self, folder, fork):
        self.folder, self.fork = folder, fork

    def start(self, command, *overrides):
        """Start a new interpreter."""
        code = f"from qmcnet.cli.{command} import main; main()"
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, overrides)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environment,
        )

    def begin(self, command, *overrides):
        return self.fork(command_of, command, overrides, folder=self.folder)

    def run(self, command, *overrides):
        return self.begin(command, *overrides).wait()

    def train(self, *overrides):
        return self.run("train", *self.settings, *overrides)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory, fork):
    return CommandLine(tmp_path_factory.mktemp("command_line"), fork)
