"""What run directories say of the runs in them: done, stopped after a step, failed, missing."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

import yaml

from qmcnet.report.result import Result
from qmcnet.report.sweep import Point
from qmcnet.run.checkpoint import NAME, stage_and_step
from qmcnet.run.directory import RunDirectoryError, is_run, lock

FAILED = re.compile(r"\[[^]]*\] ERROR (?:error: )?(.*)")
"""How a log says that a run failed."""


def point(directory: Path, settings: Mapping[str, str | float], refused: str = "") -> Point:
    """Read how far a run is.

    Args:
        directory: its run directory, which need not exist.
        settings: what was typed for it.
        refused: why it was not even started, where that is known.

    Returns:
        The point of a sweep.
    """
    result = Result.found(directory / "result.json") if is_run(directory) else None
    if result is None:
        status = f"failed: {refused}" if refused else _unfinished(directory)
    elif not result.succeeded:
        status = f"no estimate: {result.reason}"
    else:
        status = "done"
    return Point(directory, settings, status, result is not None and result.succeeded, result)


def _unfinished(directory: Path) -> str:
    """Say how far a run is that has no result."""
    if not is_run(directory):
        return "missing"
    made = [path for path in (directory / "checkpoints").glob("*.pt") if NAME.fullmatch(path.name)]
    reached = ""
    if made:
        stage, step = stage_and_step(max(made, key=lambda path: path.stat().st_mtime))
        reached = f" after step {step} of {stage}"
    if _at_work(directory):
        return f"running{reached}"
    said = _last_line(directory / "train.log")
    return f"failed: {said}" if said else f"interrupted{reached}"


def _at_work(directory: Path) -> bool:
    """Whether a process holds the lock of a run directory."""
    if not (directory / ".lock").exists():
        return False
    try:
        lock(directory).close()
    except (RunDirectoryError, OSError):
        return True
    return False


def _last_line(log: Path) -> str:
    """Why a run failed, if that is the last that its log says."""
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line for line in reversed(lines) if line.startswith("[")), "")
        return match[1] if (match := FAILED.fullmatch(last)) else ""
    return ""


def found_in(folders: Iterable[Path]) -> list[Point]:
    """Read all runs in some folders.

    Args:
        folders: run directories, or folders of run directories.

    Returns:
        The points, by the numbers in their settings.
    """
    inside = [[folder] if is_run(folder) else sorted(folder.iterdir()) for folder in folders]
    directories = dict.fromkeys(each for each in chain.from_iterable(inside) if each.is_dir() and is_run(each))
    points = [point(directory, typed_settings(directory)) for directory in directories]
    return sorted(points, key=lambda each: [(str(type(value)), value) for _, value in sorted(each.settings.items())])


def typed_settings(directory: Path) -> dict[str, str | float]:
    """Read what was typed for a run.

    Args:
        directory: its run directory.

    Returns:
        Settings by key; none where that was not kept, as of a run from Python.
    """
    with suppress(OSError, yaml.YAMLError, TypeError):
        return settings_of(yaml.safe_load((directory / ".hydra" / "overrides.yaml").read_text()))
    return {}


def settings_of(overrides: Iterable[str]) -> dict[str, str | float]:
    """Split overrides of the command line.

    Args:
        overrides: such as '+system=N2' and 'bond_length=2.4'.

    Returns:
        Values by key, numbers as such.
    """
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: _number(value) for key, _, value in pairs}


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
