"""A run directory: who may use it, and what is in it."""

import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import yaml

from qmcnet.training.checkpoint import atomic_write
from qmcnet.training.description import public_name

logger = logging.getLogger(__name__)

NOT_IDENTITY = (
    "steps",
    "device",
    "compile",
    "laplacian.compile",
    "logging",
    "evaluation",
    "observables",
    "checkpoints",
    "wall_time",
    "resume",
    "overwrite",
    "trust",
)
"""Settings that say how long and where a run goes, and by what code, not what it computes."""


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
    """The part of a configuration that decides the numbers, flattened, in JSON types and with public names.

    Args:
        config: the description of a run.

    Returns:
        Flat dictionary without how long and where the run goes.
    """
    flat: dict[str, Any] = json.loads(json.dumps(flatten(config)))
    named = {key: public_name(str(value)) for key, value in flat.items() if key.split(".")[-1] == "_target_"}
    return {key: value for key, value in (flat | named).items() if in_identity(key)}


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


def claim(directory: Path, config: Mapping[str, Any], resume: bool, overwrite: bool) -> None:
    """Check that a directory is empty or holds this very run.

    Args:
        directory: the run directory.
        config: the description of the run.
        resume: continue a run found there.
        overwrite: with `resume=False`, move a run found there aside.

    Raises:
        RunDirectoryError: if the directory holds another run, or one that may not be continued.
    """
    path = directory / "config.yaml"
    # A start that failed before anything was computed does not reserve the directory.
    used = (directory / "result.json").exists() or any((directory / "checkpoints").glob("*.pt"))
    if not used:
        return
    if not path.exists():
        raise RunDirectoryError(f"{directory} holds parts of a run without its config.yaml; use another directory")
    if resume:
        old, new = identity(yaml.safe_load(path.read_text())), identity(config)
        if old != new:
            lines = "\n".join(difference(old, new))
            raise RunDirectoryError(
                f"{directory} holds a run with another configuration:\n{lines}\nUse another directory"
            )
    elif overwrite:
        move_aside(directory)
    else:
        raise RunDirectoryError(
            f"{directory} already holds a run; resume=false needs an empty directory, or overwrite=true to move "
            "that run aside"
        )


def unused(path: Path) -> Path:
    """Find a name that nothing has yet.

    Args:
        path: the name wanted.

    Returns:
        The path, or the path with the first free number behind it.
    """
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}{number}")
    return candidate


def move_aside(directory: Path) -> None:
    """Move the content of a run directory, except its log, to a new directory beside it.

    Args:
        directory: the run directory.
    """
    backup = unused(directory.with_name(f"{directory.name}.old"))
    backup.mkdir()
    # The configuration goes last: until then the directory still says whose run it holds.
    for item in sorted(directory.iterdir(), key=lambda path: path.name == "config.yaml"):
        if item.name not in (".lock", "train.log"):
            shutil.move(str(item), str(backup / item.name))
    logger.info("moved the earlier run to %s", backup)


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Write `config.yaml`, from which the run can be built again.

    Args:
        directory: the run directory.
        config: the description of the run.
    """
    text = yaml.safe_dump(dict(config), sort_keys=False)
    atomic_write(directory / "config.yaml", lambda file: file.write(text.encode()))


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
        raise RunDirectoryError(f"another process is running in {directory}; wait for it or stop it") from None
    return file
