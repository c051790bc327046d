"""Descriptions of runs: the configuration that an object was built from, and the device a name stands for."""

import re
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qmcnet.compute.kernels import library
from qmcnet.molecule import Molecule

PARTS = (
    "objective",
    "optimizer",
    "clipping",
    "schedule",
    "averaging",
    "laplacian",
    "sampler",
    "pretraining",
    "burn_in",
    "evaluation",
    "logging",
    "checkpoints",
)
SCALARS = ("steps", "batch_size", "seed", "device", "compile", "observables", "wall_time", "resume", "overwrite")
"""Names of the settings of a run besides the wavefunction: groups, and single values."""


def choose_device(device: str | torch.device) -> torch.device:
    """Turn a device name into a device that exists.

    Args:
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N', or a device of torch.

    Returns:
        The device.

    Raises:
        ValueError: if the name is unknown or the device is not there.
    """
    device = str(device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} must be auto, cpu, cuda or cuda:N")
    found = torch.device(device)
    n_gpus = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= n_gpus:
        raise ValueError(
            f"device={device!r}: torch {torch.__version__} sees {n_gpus or 'no'} CUDA device"
            f"{'s' * (n_gpus > 1)}; use device=cpu or auto"
        )
    return found


LIBRARIES = ("qmcnet", "torch.optim", "pytorch_optimizer")


def public_name(target: str) -> str:
    """Name an object without the modules that it lives in, so that it may move house.

    Args:
        target: where it is imported from, such as 'qmcnet.ansatz.ferminet.FermiNet' or 'torch.optim.adam.Adam'.

    Returns:
        'FermiNet' or 'torch.optim.Adam'; what belongs to neither qmcnet nor a library of optimisers as it is.
    """
    library = next((library for library in LIBRARIES if target.startswith(f"{library}.")), None)
    if library is None:
        return target
    parts = target.split(".")
    first = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[first:] if library == "qmcnet" else [library, *parts[first:]])


def describe(part: Any, partial: bool = False) -> dict[str, Any]:
    """Describe an object as the configuration that builds it.

    Args:
        part: a dataclass, or an object with `settings`.
        partial: whether the configuration leaves arguments to be filled in.

    Returns:
        The public name of its class under `_target_`, and its settings.
    """
    settings = asdict(part) if is_dataclass(part) and not isinstance(part, type) else part.settings
    target = {"_target_": public_name(f"{type(part).__module__}.{type(part).__qualname__}")}
    nested = {
        key: value | {"_target_": public_name(value["_target_"])}
        for key, value in settings.items()
        if isinstance(value, dict) and "_target_" in value
    }
    return target | ({"_partial_": True} if partial else {}) | settings | nested


def summary(ansatz: nn.Module, batch_size: int, device: torch.device, directory: Path) -> str:
    """Say with what a run computes.

    Args:
        ansatz: the wavefunction.
        batch_size: number of walkers.
        device: where it computes.
        directory: the run directory.

    Returns:
        A few lines.
    """
    n_parameters = sum(parameter.numel() for parameter in ansatz.parameters())
    n_states = ansatz.settings.get("n_states", 1)  # type: ignore[union-attr,operator]
    states = f" of {n_states} states" if n_states > 1 else ""
    on_gpu = device.type == "cuda"
    where = (
        torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads, products by {library()}"
    )
    return "\n".join(
        [
            f"ansatz           {type(ansatz).__name__}{states}, {n_parameters} parameters",
            f"walkers          {batch_size}",
            f"device           {device} ({where}), {next(ansatz.parameters()).dtype}, torch {torch.__version__}, "
            f"matmul precision {torch.get_float32_matmul_precision()}",
            f"directory        {directory}",
        ]
    )


def facts(molecule: Molecule) -> dict[str, str | float]:
    """Say in two numbers of a table which molecule it is, whatever way it was given.

    Args:
        molecule: the system.

    Returns:
        Its formula and, of several nuclei, the shortest distance between two, in bohr.
    """
    distances = torch.pdist(molecule.nuclei)
    shortest = {"shortest_distance": float(distances.min())} if len(distances) else {}
    return {"formula": molecule.formula, **shortest}
