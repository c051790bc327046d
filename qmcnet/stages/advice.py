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


def advice(simulation: Simulation, total: float, wall_time: float | None, of_trained: bool = False) -> list[str]:
    """Say what applies to a run of so many seconds.

    Args:
        simulation: wavefunction and walkers.
        total: seconds that the run takes.
        wall_time: seconds after which it stops; None for no limit.
        of_trained: whether the parameters stay as they are, as in an evaluation.

    Returns:
        Lines; none of a run that is short and has the time it needs.
    """
    lines = []
    if total > LONG_RUN:
        lines += ["advice: this is long; what helps, added to the command:", *_changes(simulation, of_trained)]
    if wall_time is not None and wall_time < total:
        lines.append(f"advice: wall_time={wall_time:g} s ends before that; the same command continues")
    return lines


def _changes(simulation: Simulation, of_trained: bool) -> list[str]:
    """List settings that make a run shorter, with what they do."""
    on_cpu = simulation.generator.device.type == "cpu"
    n_parameters = sum(parameter.numel() for parameter in simulation.ensemble.parameters())
    is_large, trains = on_cpu and n_parameters > LARGE_NETWORK, not of_trained
    found = {
        "preset=quick": "a small network, which takes minutes for a handful of electrons" * (is_large and trains),
        "compile=true": "steps that are about 1.3 times faster" * (trains and _can_compile(simulation)),
        "devices=auto": "as many processes as help" * (team().size == 1 and _n_devices(on_cpu) > 1),
        "device=cuda": _gpu(on_cpu, is_large),
        "target_error=E": "a larger error: twice as large takes a fourth of the steps" * of_trained,
        "steps=N": "fewer steps" + ", and evaluation.steps=N" * trains,
    }
    return [f"  {name:<16} {effect}" for name, effect in found.items() if effect]


def _n_devices(on_cpu: bool) -> int:
    return n_cores() if on_cpu else torch.cuda.device_count()


def _gpu(on_cpu: bool, is_large: bool) -> str:
    if on_cpu and torch.cuda.is_available():
        return "the GPU of this machine"
    return "on a machine with a GPU, which a network of this size is meant for" * is_large


def _can_compile(simulation: Simulation) -> bool:
    """Whether compiling is left to be asked for; complex wavefunctions cannot be."""
    if simulation.compile or getattr(simulation.ensemble.network, "settings", {}).get("complex"):
        return False
    try:
        check_compiler(simulation.generator.device)
    except ValueError:
        return False
    return True
