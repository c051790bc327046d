import math
import subprocess
import sys
from functools import partial

import pytest
import torch
from echo import Echo
from torch.utils._pytree import tree_leaves

from qmcnet.ansatz import FermiNet
from qmcnet.compute.device import synchronize
from qmcnet.compute.memory import LiveBytes
from qmcnet.compute.team import standing_in
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.optimizers import FirstOrder, Kfac, Spring
from qmcnet.run.vmc import VMC
from qmcnet.stages import forecast as module
from qmcnet.stages.forecast import TIMED_STEPS, Expected, Stopwatch, forecast, memory, peak_memory, predicted_memory
from qmcnet.system.molecule import Molecule

CPU = torch.device("cpu")


class Branching(FermiNet):
    def forward(self, positions, nuclei):
        sign, log_abs_psi = super().forward(positions, nuclei)
        return (sign, log_abs_psi) if sign.sum() > 0 else (-sign, log_abs_psi)


def vmc(directory, laplacian, ansatz=FermiNet, batch_size=10, **settings):
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    network = ansatz(molecule, n_layers=2, hidden_one=16, hidden_two=4, n_determinants=2, dtype=torch.float64)
    return VMC(network, directory, laplacian=laplacian, batch_size=batch_size, device="cpu", **settings)


@pytest.mark.parametrize(
    ("seconds", "steps", "text"),
    [
        (0.5, 100, "0.5 s/step, 50 s for 100 steps of burn_in"),
        (0.1234, 1000, "0.123 s/step, 2.1 min for 1000 steps of burn_in"),
        (2.0, 18_000, "2 s/step, 10.0 h for 18000 steps of burn_in"),
    ],
)
def test_forecast_says_time_steps_and_memory(seconds, steps, text, monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    assert (
        forecast(Expected("burn_in", steps, False, False, seconds), None, CPU) == f"forecast: {text}, 1.50 GiB on cpu"
    )


def test_forecast_sets_the_predicted_share_apart(monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    expected = "1.50 GiB on cpu (0.031 GiB of it predicted for a step)"
    assert forecast(Expected("optimization", 100, False, False, 0.5), None, CPU, 0.03125).endswith(expected)
    assert memory(CPU, 0.5, ahead=True) == "2.00 GiB on cpu (0.5 GiB of it predicted for a step)"


def test_forecast_says_that_steps_may_be_fewer_and_what_was_said_before(monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    line = forecast(Expected("burn_in", 100, True, False, 0.5), 0.25, CPU)
    assert line == "forecast: 0.5 s/step instead of 0.25, 50 s for up to 100 steps of burn_in, 1.50 GiB on cpu"


def test_forecast_knows_no_end_of_a_stage_that_is_open_ended(monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    expected = Expected("dmc", 60_000, True, True, 0.5)
    assert (str(expected), expected.total) == ("dmc 0.5 s a step until its error is reached", 0)
    assert forecast(expected, None, CPU) == "forecast: 0.5 s/step of dmc until its error is reached, 1.50 GiB on cpu"


OPTIMIZERS = {
    "spring": Spring,
    "kfac": Kfac,
    "adam": lambda ansatz: FirstOrder(ansatz, method=torch.optim.Adam, learning_rate=1e-3),
}


@pytest.mark.parametrize("chunk_size", [4, None], ids=["update", "local energy"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_memory_of_a_step_is_predicted_from_shapes(name, chunk_size, tmp_path):
    batch_size = 100
    run = vmc(tmp_path, ForwardLaplacian(chunk_size), batch_size=batch_size, optimizer=OPTIMIZERS[name])
    stage = run._optimization()
    stage.advance()
    before = [parameter.clone() for parameter in run.ansatz.parameters()]
    predicted = predicted_memory(run.simulation, run.optimizer)
    assert all(map(torch.equal, before, run.ansatz.parameters()))
    state = [tensor for tensor in tree_leaves(run.optimizer.state_dict()) if isinstance(tensor, torch.Tensor)]
    step = LiveBytes()
    with step:
        stage.advance()
    measured = (step.peak + sum(tensor.nbytes for tensor in state)) / 2**30
    # What a sampler, a clipping and the sums of a local energy keep besides is a few numbers a walker.
    assert measured - batch_size * 2000 / 2**30 < predicted < 1.02 * measured


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_memory_of_a_step_falls_with_the_number_of_processes_and_is_predicted(name, tmp_path):
    def memory():
        run = vmc(tmp_path, ForwardLaplacian(100), batch_size=99, optimizer=OPTIMIZERS[name])
        stage = run._optimization()
        stage.advance()
        predicted = predicted_memory(run.simulation, run.optimizer)
        state = [tensor for tensor in tree_leaves(run.optimizer.state_dict()) if isinstance(tensor, torch.Tensor)]
        with LiveBytes() as step:
            stage.advance()
        return predicted, (step.peak + sum(tensor.nbytes for tensor in state)) / 2**30

    with standing_in(Echo(3)):
        predicted, measured = memory()
    assert measured - 99 * 2000 / 2**30 < predicted < 1.02 * measured
    assert predicted < memory()[0] / 2


def test_the_kernel_of_many_walkers_is_predicted(tmp_path):
    few, many = (vmc(tmp_path, ForwardLaplacian(4), batch_size=n) for n in (50, 500))
    for run in (few, many):
        run._optimization().advance()
    one, other = (predicted_memory(run.simulation, run.optimizer) for run in (few, many))
    assert other > max(10 * one, 3 * 8 * 500**2 / 2**30)  # the kernel, its damped copy, its factor


def test_no_memory_is_predicted_where_shapes_do_not_tell(tmp_path):
    for run in (vmc(tmp_path, TorchFuncLaplacian()), vmc(tmp_path, ForwardLaplacian(), Branching)):
        assert predicted_memory(run.simulation, run.optimizer) is None


def test_peak_memory_leaves_out_the_process_that_started_this_one():
    block = torch.ones(2**27, dtype=torch.float64)  # a GiB
    code = "import torch; from qmcnet.stages.forecast import peak_memory; print(peak_memory(torch.device('cpu')))"
    peak = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 0.05 < peak < 0.9 < peak_memory(CPU)
    assert block[0] == 1


def test_peak_memory_of_this_process_is_in_gib():
    block = torch.ones(2**25, dtype=torch.float64)  # a quarter of a GiB
    assert 0.25 < peak_memory(CPU) < 64
    assert block.sum() == 2**25


@pytest.fixture
def machine(monkeypatch):
    """A clock, and a device that works off what it is asked for as long as somebody waits."""

    class Machine:
        time, queue, waits = 0.0, 0.0, 0

        def ask(self, seconds):
            self.queue += seconds

        def wait(self, device):
            self.waits += 1
            self.time, self.queue = self.time + self.queue, 0.0

    simulated = Machine()
    monkeypatch.setattr(module, "synchronize", simulated.wait)
    monkeypatch.setattr(module.time, "perf_counter", lambda: simulated.time)
    return simulated


def test_the_stopwatch_times_the_device_and_leaves_out_the_first_step(machine):
    watch = Stopwatch(CPU)
    machine.ask(100.0)
    assert not watch.tick()
    assert math.isnan(watch.seconds_per_step)
    for step in range(1, TIMED_STEPS + 1):
        machine.ask(2.0)
        machine.time += 0.01  # of the host
        assert watch.tick() == (step == TIMED_STEPS)
    assert watch.seconds_per_step == pytest.approx(2.01)
    assert machine.waits == 2
    for step in range(1, TIMED_STEPS + 1):
        machine.ask(2.0)
        assert watch.tick() == (step == TIMED_STEPS)
    assert machine.waits == 3


def test_the_stopwatch_looks_ever_more_rarely_and_leaves_out_what_is_no_step(machine):
    watch, looks = Stopwatch(CPU), []
    for step in range(200):
        machine.time += 1.0
        if watch.tick():
            looks.append(step)
            with watch.paused():
                machine.time += 50.0
    assert looks == [20, 40, 80, 160]
    assert watch.seconds_per_step == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "waits"), [("cpu", 0), ("cuda", 1)])
def test_only_a_gpu_is_waited_for(kind, waits, monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    synchronize(torch.device(kind))
    assert waited == [torch.device(kind)] * waits


class Stubborn(FirstOrder):
    """An optimiser that cannot be copied."""

    def __deepcopy__(self, memo):
        raise AttributeError("no copies")


def test_what_cannot_be_predicted_ends_no_run(tmp_path, make_run):
    run = make_run(tmp_path, optimizer=partial(Stubborn, learning_rate=1e-3), steps=22)
    assert predicted_memory(run.simulation, run.optimizer) is None
    assert run.train().trained_steps == 22
