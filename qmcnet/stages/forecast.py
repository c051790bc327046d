"""How long a run will take and how much memory it needs, from its first timed steps and the shapes of its tensors."""

import copy
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from qmcnet.compute.device import standing_for, synchronize
from qmcnet.compute.memory import AsShapes, peak_bytes, predicted_peak
from qmcnet.compute.team import team
from qmcnet.laplacian import ForwardLaplacian, forward_laplacian
from qmcnet.stages.simulation import Simulation
from qmcnet.states.ensemble import copies

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
    if sys.platform == "win32":
        return math.nan
    import resource  # which Windows lacks

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def predicted_memory(simulation: Simulation, optimizer: Any) -> float | None:
    """Predict what a step needs, from shapes alone: the largest of its moves, its local energies and its update.

    Args:
        simulation: wavefunction, Hamiltonian and walkers.
        optimizer: of the wavefunction, after its first update.

    Returns:
        GiB on top of parameters and walkers; None if the back end is not the forward Laplacian, or the wavefunction or
        the optimiser looks at numbers to decide what to do.
    """
    kept = sum(tensor.nbytes for tensor in tree_leaves(optimizer.state_dict()) if isinstance(tensor, Tensor))
    positions = simulation.walkers.positions
    own = team().share(positions)
    try:
        local_energy = _local_energy_peak(simulation, own)
        with AsShapes():
            ansatz, shadow = copy.deepcopy((simulation.ensemble, optimizer))
        size = simulation.chunks.sizes.get(positions.device.type, len(own))
        moves = peak_bytes(ansatz, own[:size].to("meta"))
        update = _update_peak(shadow, optimizer, positions)
    except Exception:  # whatever an optimiser or a network of the user's own cannot do without numbers
        return None
    return (kept + max(moves, local_energy, update)) / 2**30


def _local_energy_peak(simulation: Simulation, positions: Tensor) -> int:
    backend, log_psi = simulation.laplacian, simulation.ensemble.log_psi
    if not isinstance(backend, ForwardLaplacian):
        raise NotImplementedError("other back ends run on numbers alone")
    positions = copies(positions, simulation.ensemble.n_states).flatten(0, 1)
    n_chunks = -(-len(positions) // backend.size_of_chunk(log_psi, positions))
    n_walkers = -(-len(positions) // n_chunks)
    return predicted_peak(forward_laplacian, log_psi, n_walkers, positions.shape[1], positions.dtype)


def _update_peak(shadow: Any, optimizer: Any, positions: Tensor) -> int:
    """Memory of an update; `shadow` is the optimiser without numbers."""
    kind = positions.device.type
    if hasattr(shadow, "chunks"):
        shadow.chunks.sizes["meta"] = optimizer.chunks.sizes.get(kind, len(positions))
    with standing_for(positions.device):
        n_functions = shadow.ansatz.factors(positions[:1].to("meta")).shape[-1]
        energies = torch.empty(len(positions), n_functions, dtype=torch.float64, device="meta")
        return peak_bytes(shadow.update, positions.to("meta"), energies)


class Stopwatch:
    """Times the steps of a stage; the first, which warms up caches, does not count.

    A step that was asked for is not yet done on a GPU. It is waited for where the timed steps begin, and where the
    forecast reads them; whoever reads at other times has just fetched the statistics, and waited for these.
    """

    def __init__(self, device: torch.device) -> None:
        """Wait for the first step.

        Args:
            device: where the steps are computed.
        """
        self.device, self.steps = device, -1
        self.start = time.perf_counter()

    def tick(self) -> None:
        """Count one step that was asked for."""
        self.steps += 1
        if self.steps in (0, TIMED_STEPS):
            synchronize(self.device)
        if self.steps == 0:
            self.start = time.perf_counter()

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of the timed steps, in seconds; nan before there are any."""
        return (time.perf_counter() - self.start) / self.steps if self.steps > 0 else float("nan")


def forecast(
    stage: str, seconds_per_step: float, steps_left: int, device: torch.device, predicted: float | None = None
) -> str:
    """Say what lies ahead.

    Args:
        stage: what the steps are of.
        seconds_per_step: measured duration of a step.
        steps_left: steps still to do.
        device: where the run computes.
        predicted: memory predicted for a step, in GiB.

    Returns:
        One line with the duration of a step, the time left and the memory.
    """
    left = seconds_per_step * steps_left
    amount = f"{left / 3600:.2f} h" if left > 5400 else f"{left / 60:.1f} min" if left > 90 else f"{left:.0f} s"
    memory = f"{peak_memory(device):.2f} GiB on {device}" + f" for each of {team().size} processes" * (team().size > 1)
    share = "" if predicted is None else f" ({predicted:.2g} GiB of it predicted for a step)"
    return f"forecast: {seconds_per_step:.3g} s/step, {amount} for {steps_left} steps of {stage}, {memory}{share}"
