"""A run directory: which run may use it, and what is in it."""

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qmcnet.compute.files import atomic_write
from qmcnet.compute.team import by_first
from qmcnet.run.identity import difference, identity

logger = logging.getLogger(__name__)

OURS = re.compile(
    r"\..*|config\.yaml|train(\.rank\d+)?\.log|checkpoints|pretraining|burn_in|evaluation.*|damaged.*|hparams|postmortem"
    r"|result.*\.json|.*_stats\.csv|events\.out\.tfevents.*|.*\.cube|spectrum\.png|report\.html"
)
"""What a run writes into its directory, and what systems hide there."""


class RunDirectoryError(ValueError):
    """Raised when a directory cannot take a run."""


def check_own(directory: Path) -> None:
    """Refuse to spread a run over a folder that somebody uses for something else.

    Args:
        directory: the run directory, which need not exist.

    Raises:
        RunDirectoryError: if it is a file, or holds other files and no run.
    """
    if directory.exists() and not directory.is_dir():
        raise RunDirectoryError(f"{directory} is a file; use another directory")
    if not directory.exists() or is_run(directory):
        return
    if foreign := sorted(path.name for path in directory.iterdir() if not OURS.fullmatch(path.name)):
        raise RunDirectoryError(
            f"{directory} holds other files, such as {foreign[0]}, and no run; use a directory of its own for each run"
        )
    if (directory / "config.yaml").exists():
        raise RunDirectoryError(f"{directory} holds a config.yaml that belongs to no run; use another directory")


def is_run(directory: Path) -> bool:
    """Tell whether a directory holds a run, whole or damaged, or the beginning of one.

    Args:
        directory: any directory.

    Returns:
        Whether its `config.yaml` is that of a run, or there are checkpoints or a result.
    """
    if is_used(directory):
        return True
    try:
        read_config(directory)
    except RunDirectoryError:
        return False
    return True


def is_used(directory: Path) -> bool:
    """Tell whether something was computed in a directory.

    Args:
        directory: any directory.

    Returns:
        Whether there are checkpoints or a result.
    """
    return (directory / "result.json").exists() or any((directory / "checkpoints").glob("*.pt"))


@by_first
def claim(
    directory: Path, config: Mapping[str, Any], resume: bool, overwrite: bool, defaults: Mapping[str, Any] = {}
) -> None:
    """Check that a directory is empty or holds this very run.

    A run of an older version may lack a setting that there was not yet: it did what is the default since.

    Args:
        directory: the run directory.
        config: the description of the run.
        resume: continue a run found there.
        overwrite: with `resume=False`, move a run found there aside.
        defaults: of the settings, by their dotted keys.

    Raises:
        RunDirectoryError: if the directory holds another run, or one that may not be continued.
    """
    if not is_used(directory):  # a start that failed before anything was computed does not reserve it
        return
    if resume:
        old, new = identity(read_config(directory)), identity(config)
        old = {key: default for key, default in defaults.items() if key in new} | old
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


WRITTEN = {"system", "ansatz", "dtype", "device"}
"""Keys of a whole `config.yaml`, the first ones and the last ones."""


def read_config(directory: Path) -> dict[str, Any]:
    """Read the `config.yaml` of a run as plain data.

    Args:
        directory: run directory.

    Returns:
        The configuration that builds the run.

    Raises:
        RunDirectoryError: if there is none, or what is there is no configuration.
    """
    path = directory / "config.yaml"
    if not path.exists():
        parts = "parts of a run without its config.yaml; use another directory"
        found = parts if is_used(directory) else "no run: there is no config.yaml in it"
        raise RunDirectoryError(f"{directory} holds {found}")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunDirectoryError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(config, dict) or not config.keys() >= WRITTEN:
        raise RunDirectoryError(f"{path} is damaged: it does not hold the settings of a run")
    return config


def typed_overrides(directory: Path) -> list[str]:
    """Read what was typed to start a run.

    Args:
        directory: run directory.

    Returns:
        The arguments of the command line; none of a run that was started from Python, or where they are damaged.
    """
    try:
        overrides = yaml.safe_load((directory / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    return list(map(str, overrides)) if isinstance(overrides, list) else []


def typed(directory: Path) -> dict[str, str]:
    """Tell what was typed to start a run, in one text; nothing of a run that was started from Python."""
    overrides = typed_overrides(directory)
    return {"typed": " ".join(overrides)} if overrides else {}


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
    """Move the content of a run directory to a new directory beside it.

    Args:
        directory: the run directory.
    """
    backup = unused(directory.with_name(f"{directory.name}.old"))
    backup.mkdir()
    # The configuration goes last: until then the directory still says whose run it holds.
    for item in sorted(directory.iterdir(), key=lambda path: path.name == "config.yaml"):
        if item.name != ".lock":
            shutil.move(str(item), str(backup / item.name))
    logger.info("moved the earlier run to %s", backup)


@by_first
def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Write `config.yaml`, from which the run can be built again.

    Args:
        directory: the run directory.
        config: the description of the run.
    """
    text = yaml.safe_dump(dict(config), sort_keys=False)
    atomic_write(directory / "config.yaml", lambda file: file.write(text.encode()))
