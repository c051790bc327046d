"""A run directory: who may use it, and what is in it."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

NOT_IDENTITY = ("steps", "device", "logging", "evaluation", "checkpoints", "wall_time", "resume", "overwrite")
"""Settings that say how long and where a run goes, not what it computes."""


class RunDirectoryError(ValueError):
    """Raised when a directory cannot take a run."""


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
    """The part of a configuration that decides the numbers, flattened and in JSON types.

    Args:
        config: the description of a run.

    Returns:
        Flat dictionary without how long and where the run goes.
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    flat: dict[str, Any] = json.loads(json.dumps(flatten(kept)))
    return flat


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


def lock(directory: Path) -> TextIO:
    """Reserve a run directory for this process until the returned file is closed.

    Args:
        directory: the run directory.

    Returns:
        The open lock file.

    Raises:
        RunDirectoryError: if another process is running there.
    """
    file = open(directory / ".lock", "w")  # ruff: ignore[open-file-with-context-handler]
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunDirectoryError(
            f"another process is running in {directory}; wait for it or stop it"
        ) from None
    return file
