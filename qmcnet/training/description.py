"""Descriptions of runs: the configuration that an object was built from, and the device a name stands for."""

import re
from dataclasses import asdict, is_dataclass
from typing import Any

import torch


def choose_device(device: str) -> torch.device:
    """Turn a device name into a device that exists.

    Args:
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.

    Returns:
        The device.

    Raises:
        ValueError: if the name is unknown or the device is not there.
    """
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


def describe(part: Any, partial: bool = False) -> dict[str, Any]:
    """Describe an object as the configuration that builds it.

    Args:
        part: a dataclass, or an object with `settings`.
        partial: whether the configuration leaves arguments to be filled in.

    Returns:
        Its class under `_target_`, and its settings.
    """
    settings = asdict(part) if is_dataclass(part) and not isinstance(part, type) else part.settings
    target = {"_target_": f"{type(part).__module__}.{type(part).__qualname__}"}
    return target | ({"_partial_": True} if partial else {}) | settings
