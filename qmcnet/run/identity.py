"""Which settings decide the numbers of a run, so that the same ones continue it and others are refused."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from qmcnet.run.description import public_name

NOT_IDENTITY = (
    "steps",
    "accuracy",
    "device",
    "devices",
    "compile",
    "laplacian.compile",
    "logging",
    "evaluation",
    "diffusion",
    "observables",
    "checkpoints",
    "wall_time",
    "resume",
    "overwrite",
    "trust",
)
"""Settings that say how long and where a run goes, and by what code, not what it computes."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Write a nested configuration with dotted keys.

    Args:
        config: nested mapping.
        prefix: put before each key.

    Returns:
        A flat dictionary.
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the numbers, flattened, in JSON types and with public names.

    Args:
        config: the description of a run.

    Returns:
        Flat dictionary without how long and where the run goes.
    """
    flat: dict[str, Any] = json.loads(json.dumps(flatten(config)))
    named = {key: public_name(str(value)) for key, value in flat.items() if key.split(".")[-1] == "_target_"}
    unset: dict[str, Any] = {"init_from": None, "system.ecp": []}  # as older runs, which do not mention them
    chosen = {k: v for k, v in (flat | named).items() if in_identity(k) and v != {}}
    return {k: v for k, v in chosen.items() if k not in unset or v != unset[k]}


def in_identity(key: str) -> bool:
    """Tell whether a setting decides the numbers.

    Args:
        key: its dotted name.

    Returns:
        Whether neither it nor a group around it is in NOT_IDENTITY.
    """
    return not f"{key}.".startswith(tuple(f"{name}." for name in NOT_IDENTITY))


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say where two identities differ.

    Args:
        old: identity found in the directory.
        new: identity asked for.

    Returns:
        One line for each key that differs.
    """
    keys = sorted({key for key in {*old, *new} if old.get(key, "(absent)") != new.get(key, "(absent)")})
    return [f"  {key}: {old.get(key, '(absent)')} -> {new.get(key, '(absent)')}" for key in keys]


def config_hash(config: Mapping[str, Any]) -> str:
    """Hash the identity of a run.

    Args:
        config: the description of a run.

    Returns:
        Sixteen hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(identity(config), sort_keys=True).encode()).hexdigest()[:16]
