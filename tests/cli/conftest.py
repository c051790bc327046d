import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTINGS = [
    "+system=H2",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=32",
    "pretraining.steps=0",
    "evaluation.steps=200",
    "device=cpu",
]


class CommandLine:
    """Runs the commands as a user does, in processes of their own."""

    settings = SETTINGS

    def __init__(self, folder):
        self.folder = folder

    def start(self, command, *overrides):
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

    def run(self, command, *overrides):
        process = self.start(command, *overrides)
        try:
            output, errors = process.communicate(timeout=120)
        finally:
            process.kill()
        return process.returncode, output, errors

    def train(self, *overrides):
        return self.run("train", *self.settings, *overrides)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory):
    return CommandLine(tmp_path_factory.mktemp("command_line"))
