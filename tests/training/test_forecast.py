import itertools
import math
import subprocess
import sys

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian, forward_laplacian
from qmcnet.laplacian.memory import peak_bytes
from qmcnet.molecule import Molecule
from qmcnet.training import forecast as module
from qmcnet.training.forecast import Stopwatch, forecast, peak_memory, predicted_memory
from qmcnet.training.vmc import VMC

CPU = torch.device("cpu")


class Branching(FermiNet):
    def forward(self, positions):
        sign, log_abs_psi = super().forward(positions)
        return (sign, log_abs_psi) if sign.sum() > 0 else (-sign, log_abs_psi)


def simulation(directory, laplacian, ansatz=FermiNet):
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    network = ansatz(molecule, n_layers=2, hidden_one=16, hidden_two=4, n_determinants=2, dtype=torch.float64)
    return VMC(network, directory, laplacian=laplacian, batch_size=10, device="cpu").simulation


@pytest.mark.parametrize(
    ("seconds", "steps", "text"),
    [
        (0.5, 100, "0.5 s/step, 50 s for 100 steps"),
        (0.1234, 1000, "0.123 s/step, 2.1 min for 1000 steps"),
        (2.0, 18_000, "2 s/step, 10.00 h for 18000 steps"),
    ],
)
def test_forecast_says_time_steps_and_memory(seconds, steps, text, monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    assert forecast(seconds, steps, CPU) == f"forecast: {text}, 1.50 GiB on cpu"


def test_forecast_sets_the_predicted_share_apart(monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    expected = "1.50 GiB on cpu (0.031 GiB of it predicted for a chunk of the local energy)"
    assert forecast(0.5, 100, CPU, 0.03125).endswith(expected)


@pytest.mark.parametrize(("chunk_size", "walkers"), [(5, 5), (7, 5), (9, 5), (64, 10), (None, 10)])
def test_predicted_memory_is_that_of_the_largest_chunk(chunk_size, walkers, tmp_path):
    run = simulation(tmp_path, ForwardLaplacian(chunk_size))
    part = run.walkers.positions[:walkers]
    measured = peak_bytes(lambda r: forward_laplacian(lambda x: run.ansatz(x)[1], r), part)
    assert predicted_memory(run) == measured / 2**30


def test_no_memory_is_predicted_where_shapes_do_not_tell(tmp_path):
    assert predicted_memory(simulation(tmp_path, TorchFuncLaplacian())) is None
    assert predicted_memory(simulation(tmp_path, ForwardLaplacian(), Branching)) is None


def test_peak_memory_leaves_out_the_process_that_started_this_one():
    block = torch.ones(2**27, dtype=torch.float64)  # a GiB
    code = "import torch; from qmcnet.training.forecast import peak_memory; print(peak_memory(torch.device('cpu')))"
    peak = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.05 < peak < 0.9 < peak_memory(CPU)
    assert block[0] == 1


def test_peak_memory_of_this_process_is_in_gib():
    block = torch.ones(2**25, dtype=torch.float64)  # a quarter of a GiB
    assert 0.25 < peak_memory(CPU) < 64
    assert block.sum() == 2**25


def test_the_stopwatch_leaves_out_the_first_step(monkeypatch):
    clock = itertools.accumulate([100.0, 0.5, 0.25, 0.75])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    assert math.isnan(watch.seconds_per_step)
    watch.tick()
    assert math.isnan(watch.seconds_per_step)
    for _ in range(2):
        watch.tick()
    assert watch.steps == 2
    assert watch.seconds_per_step == pytest.approx(0.5)
