"""How long a stage will take, from its timed steps, how much memory it needs, from shapes, and how to say it."""

import copy
import math
import re
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
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
from qmcnet.stages.stage import Stage
from qmcnet.states.ensemble import copies
from qmcnet.words import duration

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
    forecast looks at them; whoever reads at other times has just fetched the statistics, and waited for these.
    """

    def __init__(self, device: torch.device) -> None:
        """Wait for the first step.

        Args:
            device: where the steps are computed.
        """
        self.device, self.steps, self.next_look = device, -1, TIMED_STEPS
        self.start = time.perf_counter()

    def tick(self) -> bool:
        """Count one step that was asked for.

        Returns:
            Whether it is time to look at the durations: after 20 timed steps, after 40, after 80 and so on.
        """
        self.steps += 1
        due = self.steps == self.next_look
        if self.steps == 0 or due:
            synchronize(self.device)
        if self.steps == 0:
            self.start = time.perf_counter()
        if due:
            self.next_look *= 2
        return due

    @contextmanager
    def paused(self) -> Generator[None]:
        """Leave out the time of what is no step.

        Yields:
            Nothing.
        """
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.start += time.perf_counter() - begin

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of the timed steps, in seconds; nan before there are any."""
        return (time.perf_counter() - self.start) / self.steps if self.steps > 0 else float("nan")


@dataclass(frozen=True)
class Expected:
    """What is expected of a stage.

    Attributes:
        name: of the stage.
        steps: left to do.
        may_end_early: whether fewer may do.
        open_ended: whether it is not known yet how many will do.
        seconds: of a step; None where none could be timed.
    """

    name: str
    steps: int
    may_end_early: bool
    open_ended: bool
    seconds: float | None

    @classmethod
    def of(cls, stage: Stage, seconds: float | None) -> "Expected":
        """Say what is expected of a stage, fresh, restored or at work, whose steps take so many seconds."""
        return cls(stage.name, left(stage), stage.may_end_early, stage.open_ended, seconds)

    @property
    def known(self) -> bool:
        """Whether it is known how long it will take, at most."""
        return self.seconds is not None and not self.open_ended

    @property
    def total(self) -> float:
        """Seconds of all steps; none of unknown ones."""
        return (self.seconds or 0.0) * self.steps * self.known

    def __str__(self) -> str:
        """Say it."""
        if self.seconds is not None and self.open_ended:
            return f"{self.name} {self.seconds:.2g} s a step until its error is reached"
        time = "not timed" if self.seconds is None else duration(self.total)
        return f"{self.name} {'up to ' * self.may_end_early}{self.steps} steps {time}"


def left(stage: Stage) -> int:
    """Count the steps that a stage has before it.

    Args:
        stage: fresh, restored or at work.

    Returns:
        Their number, of which it may need fewer.
    """
    done, planned = stage.progress()
    return 0 if stage.finished() else planned - done


def memory(device: torch.device, predicted: float | None, ahead: bool = False) -> str:
    """Say how much memory a run needs.

    Args:
        device: where the run computes.
        predicted: memory predicted for a step, in GiB.
        ahead: whether such a step is still to come, and the peak so far does not know it.

    Returns:
        A few words.
    """
    peak = peak_memory(device) + (predicted or 0.0) * ahead
    share = "" if predicted is None else f" ({predicted:.2g} GiB of it predicted for a step)"
    return f"{peak:.2f} GiB on {device}" + f" for each of {team().size} processes" * (team().size > 1) + share


def forecast(expected: Expected, before: float | None, device: torch.device, predicted: float | None = None) -> str:
    """Say what lies ahead of a stage that is at work.

    Args:
        expected: of the stage, from measured steps.
        before: duration of a step that was said before, in seconds, where it turned out to be wrong.
        device: where the run computes.
        predicted: memory predicted for a step, in GiB.

    Returns:
        One line with the duration of a step, the time left and the memory.
    """
    step = f"{expected.seconds:.3g} s/step" + ("" if before is None else f" instead of {before:.3g}")
    if expected.open_ended:
        return f"forecast: {step} of {expected.name} until its error is reached, {memory(device, predicted)}"
    steps = f"{'up to ' * expected.may_end_early}{expected.steps} steps of {expected.name}"
    return f"forecast: {step}, {duration(expected.total)} for {steps}, {memory(device, predicted)}"
