"""What a step takes, and what another number of processes would make of it."""

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager

import torch

from qmcnet.compute.crew import n_cores
from qmcnet.compute.team import Solo, standing_in, team
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Stage
from qmcnet.stages.trial import copied, seconds_of_step

REPEATS = 3
LONGEST = 5.0
"""Seconds after which no further step is timed."""
LONGEST_OF_EVALUATION, MOST_WALKERS = 1.0, 512
"""Seconds after which no further evaluation of the wavefunction is timed, and walkers that it is timed with."""


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


def gain_of_one_thread(simulation: Simulation) -> float:
    """Find out how many times as fast a single thread evaluates the wavefunction as all of this process.

    Where other processes keep the cores busy, threads wait for each other at every operation.

    Args:
        simulation: a copy of that of the run.

    Returns:
        The ratio of two durations; 1 where there is a single thread, or the device is a GPU.
    """
    if simulation.generator.device.type != "cpu" or torch.get_num_threads() == 1:
        return 1.0
    with_all = _of_evaluation(simulation)
    with threads(1):
        return with_all / _of_evaluation(simulation)


def _of_evaluation(simulation: Simulation) -> float:
    """Time the log-probability of the walkers at its median of a few tries, after one that does not count."""
    positions, found = simulation.walkers.positions[:MOST_WALKERS], list[float]()
    begin = time.perf_counter()
    with torch.no_grad():
        while len(found) < 2 * REPEATS and time.perf_counter() - begin < LONGEST_OF_EVALUATION:
            start = time.perf_counter()
            simulation.ensemble(positions)
            found.append(time.perf_counter() - start)
    return statistics.median(found[1:] or found)


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


def alternative(stage: Stage, simulation: Simulation, seconds: float) -> str:
    """Say what another number of processes would make of a step.

    What the stage does with walkers is timed on a copy, as the one and the other would have them; the rest of a step,
    such as messages, is taken to stay.

    Args:
        stage: at work; stays as it is.
        simulation: wavefunction and walkers; stay as they are.
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
        now = _of_walkers(stage, simulation, size, n_threads)
        then = _of_walkers(stage, simulation, other, threads_of_other)
    except Exception:  # whatever a copy of a run can meet: a forecast is no reason to end one
        return ""
    return f"; with devices={other} instead of {size} it might take {max(seconds - now, 0) + then:.2g} s/step"


def _of_walkers(stage: Stage, simulation: Simulation, size: int, n_threads: int) -> float:
    """Time what a step does with the walkers that one of some processes has."""
    twin = copied(simulation)
    with standing_in(Solo()), threads(n_threads):
        return seconds_of_step(stage.trial(twin), twin, size)
