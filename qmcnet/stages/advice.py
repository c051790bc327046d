"""What a user can do about a run that takes long."""

import torch

from qmcnet.compute.compilation import check_compiler
from qmcnet.compute.crew import n_cores
from qmcnet.compute.team import team
from qmcnet.stages.simulation import Simulation

LONG_RUN = 3600.0
"""Seconds from which on a run is long."""
LARGE_NETWORK = 100_000
"""Parameters from which on a network is meant for a GPU; the published ones have more, the small ones fewer."""


def advice(simulation: Simulation, total: float, wall_time: float | None) -> list[str]:
    """Say what applies to a run of so many seconds.

    Args:
        simulation: wavefunction and walkers.
        total: seconds that the run takes.
        wall_time: seconds after which it stops; None for no limit.

    Returns:
        Lines; none of a run that is short and has the time it needs.
    """
    lines = []
    if total > LONG_RUN:
        lines += ["advice: this is long; what helps, added to the command:", *_changes(simulation)]
    if wall_time is not None and wall_time < total:
        lines.append(f"advice: wall_time={wall_time:g} s ends before that; the same command continues")
    return lines


def _changes(simulation: Simulation) -> list[str]:
    """List settings that make a run shorter, with what they do."""
    on_cpu, found = simulation.generator.device.type == "cpu", []
    n_parameters = sum(parameter.numel() for parameter in simulation.ensemble.parameters())
    is_large = on_cpu and n_parameters > LARGE_NETWORK
    if is_large:
        found.append("  preset=quick     a small network, which takes minutes for a handful of electrons")
    if _can_compile(simulation):
        found.append("  compile=true     steps that are about 1.3 times faster")
    if team().size == 1 and (n_cores() if on_cpu else torch.cuda.device_count()) > 1:
        found.append("  devices=auto     as many processes as help")
    if on_cpu and torch.cuda.is_available():
        found.append("  device=cuda      the GPU of this machine")
    elif is_large:
        found.append("  device=cuda      on a machine with a GPU, which a network of this size is meant for")
    return [*found, "  steps=N          fewer steps, and evaluation.steps=N"]


def _can_compile(simulation: Simulation) -> bool:
    """Whether compiling is left to be asked for; complex wavefunctions cannot be."""
    if simulation.compile or getattr(simulation.ensemble.network, "settings", {}).get("complex"):
        return False
    try:
        check_compiler(simulation.generator.device)
    except ValueError:
        return False
    return True
