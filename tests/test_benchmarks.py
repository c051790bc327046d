"""Every benchmark starts, and the quick ones do their smallest case."""

import importlib
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from composing import composed

from qmcnet.stages.burn_in import BurnInSettings

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if '__name__ == "__main__"' in path.read_text())
SMALLEST = {
    "laplacian": ["--repeats=1", "--chains", "1", "2", "--", "H"],
    "memory": ["--worker", '["H2", 1, false]'],
    "update_memory": ["--worker", '["SPRING", "H2", 2, 2]'],
}


@pytest.fixture(autouse=True, scope="module")
def _imported():
    """Import what any of them imports when it needs it, so that no fork pays for it again."""
    importlib.import_module("torch._dynamo")


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
    # A fork has none of the threads that its parent may have started, and would wait for them.
    single = ["--threads", "1"] if '"--threads"' in (FOLDER / f"{name}.py").read_text() else []
    status, output, errors = fork(script, name, *single, *SMALLEST[name], folder=tmp_path).wait()
    assert status == 0, errors
    assert output


def race():
    sys.path.insert(0, str(FOLDER))
    convergence = importlib.import_module("convergence")
    convergence.BurnInSettings = partial(BurnInSettings, min_sweeps=2, max_sweeps=2)
    network = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1}
    protocol = convergence.Protocol(("H",), network, 8, 2, 10.0, 10.0, 1e-2)
    start = ("H", 0, protocol, torch.device("cpu"))
    simulation = convergence.fresh(*start)
    simulation.load_state_dict(convergence.prepared(*start))
    racer = convergence.enter("Adam", 1e-3, convergence.FirstOrder, simulation, protocol)
    racer.advance()
    print(racer.evaluate(3)["variance"] > 0)


def test_a_racer_makes_a_step(fork):
    status, output, errors = fork(race).wait()
    assert status == 0, errors
    assert output == "True\n"


def overrides_of(module):
    sys.path.insert(0, str(FOLDER))
    benchmark = importlib.import_module(module)
    optimizers = [["+system=He", *options] for options in getattr(benchmark, "OPTIMIZERS", {}).values()]
    for options in optimizers or benchmark.SYSTEMS.values():
        composed(*options, "preset=quick")


@pytest.mark.parametrize("module", ["energies", "spectra"])
def test_commands_can_be_composed(module, fork):
    status, _, errors = fork(overrides_of, module).wait()
    assert status == 0, errors
