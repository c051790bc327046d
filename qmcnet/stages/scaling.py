"""What a step takes, and what another number of processes would make of it."""

import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch

from qmcnet.compute.crew import n_cores
from qmcnet.compute.team import Solo, standing_in, team
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Stage
from qmcnet.states.ensemble import copies

REPEATS = 3
LONGEST = 5.0
"""Seconds after which no further step is timed."""


def seconds_per_step(stage: Stage) -> float:
    """Time a few steps of a stage that is used for nothing else.

    Args:
        stage: makes steps; changed.

    Returns:
        Median duration of a step, in seconds, as the first process has it.
    """
    stage.advance()  # which warms up what later steps find
    begin, found = time.perf_counter(), list[float]()
    while len(found) < 2 * REPEATS + 1:
        start = time.perf_counter()
        stage.advance()
        found.append(time.perf_counter() - start)
        if team().agree(True if team().rank == 0 and time.perf_counter() - begin > LONGEST else None):
            break
    return statistics.median(found)


@contextmanager
def threads(count: int) -> Generator[None]:
    """Compute with a number of threads.

    Args:
        count: their number.

    Yields:
        Nothing.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def traffic(before: tuple[int, int], steps: int) -> str:
    """Say what a process has sent.

    Args:
        before: messages and bytes before the first of the steps.
        steps: steps since then.

    Returns:
        A few words; nothing of a single process.
    """
    messages, sent = ((now - then) / steps for now, then in zip((team().messages, team().bytes), before, strict=True))
    return f"; each sends {messages:.0f} messages, {sent / 2**20:.2g} MiB a step" if team().size > 1 else ""


def alternative(simulation: Simulation, seconds: float) -> str:
    """Say what another number of processes would make of a step.

    Moves and local energies are timed as the one and the other would have them; the rest of a step is taken to stay.

    Args:
        simulation: wavefunction and walkers.
        seconds: duration of a step with the present number.

    Returns:
        A few words; nothing on a GPU, where there is one core, or of what would have to be compiled anew.
    """
    most = min(n_cores(), len(simulation.walkers.positions))
    if simulation.generator.device.type != "cpu" or most == 1 or simulation.compile:
        return ""
    size = team().size
    if size > 1:  # each of which has a single thread
        other, n_threads, threads_of_other = 1, 1, n_cores()
    else:  # which keeps what threads it has been given
        other, n_threads, threads_of_other = most, torch.get_num_threads(), 1
    try:
        with standing_in(Solo()):
            saved = _moves_and_energies(simulation, size, n_threads)
            saved -= _moves_and_energies(simulation, other, threads_of_other)
    except Exception:  # whatever more walkers at once can meet: a forecast is no reason to end a run
        return ""
    return f"; with devices={other} instead of {size} it might take {max(seconds - saved, 0):.2g} s/step"


def _moves_and_energies(simulation: Simulation, size: int, n_threads: int) -> float:
    """Time the moves of the share of one of some processes, and the local energies of a chunk, which stands for it."""
    share = simulation.walkers.positions[::size].contiguous()
    points, log_psi = copies(share, simulation.ensemble.n_states).flatten(0, 1), simulation.ensemble.log_psi
    chunk = points
    if isinstance(simulation.laplacian, ForwardLaplacian):
        chunk = points[: simulation.laplacian.size_of_chunk(log_psi, points)]
    with threads(n_threads):
        moves = (simulation.sampler.steps + 1) * _fastest(lambda: simulation.log_prob(share))
        energy = _fastest(lambda: simulation.laplacian(log_psi, chunk))
    return moves + energy * len(points) / len(chunk)


def _fastest(work: Callable[[], object]) -> float:
    """Time some work at its best of a few tries, after one that does not count."""
    found = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found[1:])
