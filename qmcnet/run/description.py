"""Descriptions of runs: the configuration that an object was built from, and the device a name stands for."""

from dataclasses import asdict, is_dataclass
from typing import Any

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
