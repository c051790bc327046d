"""How many processes share a run on one machine."""

import os
from collections.abc import Callable

import torch

from qmcnet.compute.device import choose_device
from qmcnet.compute.launch import place


def choose_crew(devices: int | str, device: str, n_walkers: int | None, measure: Callable[[], int]) -> int:
    """Decide how many processes are to be started.

    Args:
        devices: their number, or 'auto': every GPU, or on a CPU as many as are measured to help.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        n_walkers: number of walkers, where it is known.
        measure: finds out how many processes help on a CPU.

    Returns:
        Their number; 1 in a process that is one of several already.

    Raises:
        ValueError: for a number that is out of range, or more than there are devices or walkers.
    """
    if isinstance(devices, bool) or not (devices == "auto" or (isinstance(devices, int) and devices >= 1)):
        raise ValueError(f"devices={devices!r} must be auto or a whole number from 1")
    started = place()
    if started is not None:
        if devices not in ("auto", 1, started.size):
            raise ValueError(f"devices={devices}: {started.size} processes are running already; leave out devices")
        return 1
    chosen = choose_device(device)
    on_gpus = chosen.type == "cuda"
    if on_gpus and chosen.index is not None and devices not in ("auto", 1):
        raise ValueError(f"devices={devices} needs device=cuda, a GPU for each process; device={device} is one")
    most = torch.cuda.device_count() if on_gpus and chosen.index is None else 1 if on_gpus else n_cores()
    if devices == "auto":
        return most if on_gpus else measure()
    assert isinstance(devices, int)
    if devices > most:
        kind = "GPUs" if on_gpus else "cores"
        raise ValueError(f"devices={devices} is more than the {most} {kind} of this machine, one for each process")
    if isinstance(n_walkers, int) and 1 < n_walkers < devices:
        raise ValueError(f"devices={devices} is more than batch_size={n_walkers}: each process needs a walker")
    return devices


def n_cores() -> int:
    """Count the cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # which macOS lacks
    return len(allowed(0)) if allowed else os.cpu_count() or 1
