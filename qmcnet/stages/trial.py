"""How long steps will take, from steps with few walkers of a copy of the run, which itself stays as it is.

Letters: B walkers, R processes.
"""

import copy
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from qmcnet.compute.device import synchronize
from qmcnet.compute.team import Solo, standing_in, team
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Trial

FEWEST, GROWTH = 4, 4
"""Walkers that are timed first, and how many times as many are timed next."""
REPEATS = 2
"""How often each number of walkers is timed: the first time may have to find out or to set up something."""
LONGEST = 0.8
"""Seconds that no work is expected to take with the next number of walkers that is tried."""
SAMPLE = 64
"""Walkers whose wavefunction is evaluated to find out whether a run is worth a trial."""

Timed = Sequence[tuple[int, float]]
"""Numbers of walkers, ascending, and the seconds that some work took with each."""


def copied(simulation: Simulation) -> Simulation:
    """Copy a simulation, not compiled and with random numbers of its own, to be used for nothing but timing.

    Args:
        simulation: stays as it is.

    Returns:
        A copy in which nothing was found out yet, such as how many walkers fit into memory.
    """
    ensemble, hamiltonian = copy.deepcopy((simulation.ensemble, simulation.hamiltonian))
    backend: Any = simulation.laplacian
    laplacian = type(backend)(**{name: name != "compile" and value for name, value in backend.settings.items()})
    generator = torch.Generator(simulation.generator.device).manual_seed(0)
    return Simulation(ensemble, hamiltonian, laplacian, simulation.sampler, simulation.walkers, generator)


def copied_for(optimizer: Any, ensemble: nn.Module, twin: nn.Module) -> Any:
    """Copy an optimiser for the copy of what it optimises.

    Args:
        optimizer: stays as it is.
        ensemble: what it changes.
        twin: a copy of that.

    Returns:
        An optimiser in the same state, which changes the copy.
    """
    old, new = ([*module.modules(), *module.parameters()] for module in (ensemble, twin))
    return copy.deepcopy(optimizer, {id(one): other for one, other in zip(old, new, strict=True)})


def seconds_of_sweep(simulation: Simulation) -> float:
    """Estimate how long the moves of a sweep of the walkers of this process take, from one evaluation of few.

    Args:
        simulation: a copy of that of the run.

    Returns:
        Seconds.
    """
    positions, device = simulation.walkers.positions[:SAMPLE], simulation.generator.device
    with torch.no_grad():
        simulation.ensemble(positions[:FEWEST])  # which warms up what the next one finds
        seconds = _once(lambda: simulation.ensemble(positions), device)
    share = len(simulation.walkers.positions) / team().size
    return seconds * (simulation.sampler.steps + 1) * share / len(positions)


def seconds_of_step(trial: Trial, simulation: Simulation, size: int | None = None) -> float:
    """Estimate how long a step takes, without a message to other processes.

    Args:
        trial: of a stage.
        simulation: the one whose walkers the trial uses; has all of them before and after.
        size: number of processes; by default as many as there are.

    Returns:
        Seconds, those of messages not included.
    """
    count = len(simulation.walkers.positions)
    own = -(-count // (size or team().size))
    with standing_in(Solo()):
        seconds = extrapolated(timed(trial.linear, simulation, own), own, count)
        if trial.steep is not None:
            seconds += extrapolated(timed(trial.steep, simulation, own), own, count, steep=True)
    return seconds


def timed(work: Callable[[], object], simulation: Simulation, most: int) -> Timed:
    """Time some work with ever more walkers, until the next number of them would take long.

    Args:
        work: uses the walkers of the simulation.
        simulation: has all walkers before and after.
        most: the most walkers that the work is ever done with.

    Returns:
        What was found, at least one number of walkers.
    """
    everything, found, size = simulation.walkers, list[tuple[int, float]](), min(FEWEST, most)
    device = simulation.generator.device
    while not found or (found[-1][0] < most and GROWTH * found[-1][1] < LONGEST):
        few = everything.replace(positions=everything.positions[:size].clone())
        seconds = []
        for _ in range(REPEATS):
            simulation.walkers = few
            seconds.append(_once(work, device))
        found.append((size, min(seconds)))
        size = min(GROWTH * size, most)
    simulation.walkers = everything
    return found


def _once(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - start


def extrapolated(found: Timed, own: int, count: int, steep: bool = False) -> float:
    """Continue durations to more walkers, c + a b, or c + a b + d b B where there are pairs of walkers.

    A line goes through the last two points, a parabola through the last three.

    Args:
        found: at least one point, each with b = B.
        own: walkers b of a process.
        count: walkers B of all processes.
        steep: whether each walker of a process meets all others; the square comes from a small difference, which is
            noise where there is none.

    Returns:
        Seconds.
    """
    (n, last), *before = reversed(found)
    if not before:
        return last * own / n
    m, middle = before[0]
    slope, curve = max(last - middle, 0) / (n - m), 0.0
    if steep and len(before) > 1:
        least, first = before[1]
        curve = max(slope - (middle - first) / (m - least), 0) / (n - least)
    return last + (slope + curve * (own - m)) * (own - n) + curve * own * (count - own)
