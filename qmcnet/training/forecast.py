"""How long a run will take and how much memory it needs, from its first timed steps and the shapes of its tensors."""

import re
import resource
import sys
import time
from pathlib import Path

import torch

from qmcnet.compute.memory import predicted_peak
from qmcnet.hamiltonian.molecular import LogPsi
from qmcnet.laplacian import ForwardLaplacian, forward_laplacian
from qmcnet.training.simulation import Simulation

TIMED_STEPS = 20


def peak_memory(device: torch.device) -> float:
    """Peak memory so far.

    Args:
        device: where the run computes.

    Returns:
        GiB allocated on a GPU, or resident in this process on a CPU.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # Linux starts ru_maxrss at the peak of the process that started this one, which may be a large notebook.
    status = Path("/proc/self/status")
    own = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if own:
        return int(own[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def predicted_memory(simulation: Simulation) -> float | None:
    """Predict what the largest chunk of a local energy needs, from shapes alone.

    Args:
        simulation: wavefunction, Hamiltonian and walkers.

    Returns:
        GiB on top of parameters and walkers; None if the back end is not the forward Laplacian, or the wavefunction
        looks at numbers to decide what to do.
    """
    backend, positions = simulation.hamiltonian.laplacian, simulation.walkers.positions
    if not isinstance(backend, ForwardLaplacian):
        return None
    network = getattr(simulation.ansatz, "network", simulation.ansatz)
    positions = positions.reshape(-1, simulation.molecule.n_electrons, 3)
    n_chunks = -(-len(positions) // backend.size_of_chunk(LogPsi(network), positions))
    n_walkers = -(-len(positions) // n_chunks)
    try:
        peak = predicted_peak(forward_laplacian, network, n_walkers, positions.shape[1], positions.dtype)
    except NotImplementedError:
        return None
    return peak / 2**30


class Stopwatch:
    """Times the steps of a stage; the first, which warms up caches, does not count."""

    def __init__(self) -> None:
        """Wait for the first step."""
        self.steps = -1
        self.start = time.perf_counter()

    def tick(self) -> None:
        """Count one finished step."""
        self.steps += 1
        if self.steps == 0:
            self.start = time.perf_counter()

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of the timed steps, in seconds; nan before there are any."""
        return (time.perf_counter() - self.start) / self.steps if self.steps > 0 else float("nan")


def forecast(seconds_per_step: float, steps_left: int, device: torch.device, predicted: float | None = None) -> str:
    """Say what lies ahead.

    Args:
        seconds_per_step: measured duration of a step.
        steps_left: steps still to do.
        device: where the run computes.
        predicted: memory predicted for a chunk of the local energy, in GiB.

    Returns:
        One line with the duration of a step, the time left and the memory.
    """
    left = seconds_per_step * steps_left
    amount = f"{left / 3600:.2f} h" if left > 5400 else f"{left / 60:.1f} min" if left > 90 else f"{left:.0f} s"
    memory = f"{peak_memory(device):.2f} GiB on {device}"
    share = "" if predicted is None else f" ({predicted:.2g} GiB of it predicted for a chunk of the local energy)"
    return f"forecast: {seconds_per_step:.3g} s/step, {amount} for {steps_left} steps, {memory}{share}"
