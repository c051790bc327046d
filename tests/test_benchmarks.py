"""Every benchmark starts, and the quick ones do their smallest case."""

import importlib
import runpy
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

from qmcnet.config.naming import config_directory

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text())
SMALLEST = {
    "laplacian": ["--repeats=1", "--chains", "2", "3", "--", "He"],
    "memory": ["--worker", '["H2", 1, false]'],
    "update_memory": ["--worker", '["KFAC", "H2", 2, 2]'],
}


def script(name, *arguments):
    sys.path.insert(0, str(FOLDER))
    sys.argv = [name, *arguments]
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name, fork):
    status, output, errors = fork(script, name, "--help").wait()
    assert status == 0, errors
    assert f"python benchmarks/{name}.py" in output


@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_case(name, fork, tmp_path):
    status, output, errors = fork(script, name, *SMALLEST[name], folder=tmp_path).wait()
    assert status == 0, errors
    assert output


def race():
    sys.path.insert(0, str(FOLDER))
    convergence = importlib.import_module("convergence")
    network = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1}
    protocol = convergence.Protocol(("H",), network, 8, 2, 10.0, 10.0, 1e-2)
    for point in convergence.race("H", 0, {"KFAC": 0.1}, protocol, torch.device("cpu"), 1):
        print(point["optimizer"], point["step"], point["variance"] > 0)


def test_a_race_of_one_step(fork):
    status, output, errors = fork(race).wait()
    assert status == 0, errors
    assert output == "KFAC 1 True\n"


def overrides_of(module):
    sys.path.insert(0, str(FOLDER))
    benchmark = importlib.import_module(module)
    lists = [*benchmark.SYSTEMS.values()]
    lists += [["+system=He", *options] for options in getattr(benchmark, "OPTIMIZERS", {}).values()]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        for options in lists:
            compose("config", overrides=[*options, "preset=quick"])


@pytest.mark.parametrize("module", ["energies", "spectra"])
def test_commands_can_be_composed(module, fork):
    status, _, errors = fork(overrides_of, module).wait()
    assert status == 0, errors
