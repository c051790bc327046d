"""What run directories say of the runs in them: done, stopped after a step, failed, missing."""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from qmcnet.report.result import Result
from qmcnet.report.sweep import Point
from qmcnet.run.checkpoint import NAME, stage_and_step
from qmcnet.run.directory import typed_overrides
from qmcnet.run.identity import in_identity
from qmcnet.run.lock import is_locked
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization

FAILED = re.compile(r"\[[^]]*\] ERROR (?:error: )?(.*)")
"""How a log says that a run failed."""
GEOMETRIES = "points"
"""Folder in that of a relaxation, with a run directory for each geometry."""


def point(directory: Path, settings: Mapping[str, str | float], failure: str = "") -> Point:
    """Read how far a run is, and change nothing.

    Args:
        directory: its run directory, which need not exist.
        settings: what was typed for it.
        failure: why the last attempt failed, where that is known.

    Returns:
        The point of a sweep.
    """
    result, ours = _result(directory), _composed(directory)
    folder = _diffusion(directory, ours) if result is not None and len(result.states) == 1 else None
    diffused = _energy(folder / "result.json") if folder else None
    status = _status(directory, result, folder, diffused)
    if failure and status != "done":
        status = f"failed: {failure}"
    return Point(directory, settings, status, status == "done", result, diffused)


def _status(directory: Path, result: Result | None, folder: Path | None, diffused: dict[str, float] | None) -> str:
    """Say in words how far a run is."""
    if result is None or _goes_on(directory, result):
        return _unfinished(directory)
    if not result.succeeded:
        return f"no estimate: {result.reason}"
    if folder is None:
        return "done"
    return "done" if diffused else "no estimate: diffusion drifts" if _drifts(folder) else _unfinished(folder)


def _result(directory: Path) -> Result | None:
    try:
        result = Result.read(directory / "result.json") if (directory / "config.yaml").exists() else None
        if result:
            result.summary()  # which needs all of it
        figures = [state["energy"][part] for state in result.states for part in ("value", "error")] if result else []
        known = all(isinstance(figure, int | float) for figure in figures)
        return result if result and known and "geometry" in result.metadata else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None  # damaged, or of another program


def _goes_on(directory: Path, result: Result) -> bool:
    """Whether a run has made more steps than its result is of."""
    if not (newest := _newest(directory)):
        return False
    stage, step = newest
    reached = {Optimization.name: result.trained_steps, Evaluation.name: result.evaluation_steps}
    return step > reached.get(stage, 0)


def _composed(directory: Path) -> dict[str, Any]:
    """What Hydra composed for a run; nothing where that was not kept."""
    with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
        content = yaml.safe_load((directory / ".hydra" / "config.yaml").read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def _diffusion(directory: Path, composed: Mapping[str, Any]) -> Path | None:
    """Where a run goes on by diffusion Monte Carlo; None where it does not."""
    group = dict(composed.get("diffusion") or {})
    if group.pop("_target_", None) is None or (composed.get("ansatz") or {}).get("complex"):
        return None
    with suppress(TypeError, ValueError):
        label = DiffusionSettings(**group).label(True, sorted(composed.get("observables") or []))
        return directory / Diffusion.name / label
    return None


def _energy(path: Path) -> dict[str, float] | None:
    """Energy and error that a file of diffusion Monte Carlo holds, in hartree; None where it goes on, or drifts."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        newest, made = _newest(path.parent), sum(point["generations"] for point in found["points"])
        if (newest and newest[1] > made) or not all(point["stationary"] for point in found["points"]):
            return None
        return {"value": float(found["energy"]), "error": float(found["standard_error"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _drifts(folder: Path) -> bool:
    """Whether diffusion Monte Carlo is done, at some time step without an average."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        points = json.loads((folder / "result.json").read_text(encoding="utf-8"))["points"]
        return not all(point["stationary"] for point in points)
    return False


def _newest(directory: Path) -> tuple[str, int] | None:
    """Stage and step of the newest checkpoint."""
    made = [path for path in (directory / "checkpoints").glob("*.pt") if NAME.fullmatch(path.name)]
    return stage_and_step(max(made, key=lambda path: path.name)) if made else None


def _unfinished(directory: Path) -> str:
    """Say how far a run is that has no result."""
    if not directory.is_dir() or not any(directory.iterdir()):
        return "missing"
    reached = " after step {1} of {0}".format(*newest) if (newest := _newest(directory)) else ""
    if is_locked(directory):
        return f"running{reached}"
    said = _last_line(directory / "train.log")
    return f"failed: {said}" if said else f"interrupted{reached}"


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
    return [point(directory, settings) for directory, settings in directories_in(folders).items()]


def directories_in(folders: Iterable[Path]) -> dict[Path, dict[str, str | float]]:
    """Find the run directories in some folders.

    Args:
        folders: run directories, or folders of run directories, such as those of sweeps and relaxations.

    Returns:
        What was typed for each, by the numbers in it.
    """
    runs = list(chain.from_iterable(map(_runs_in, folders)))
    found = {directory: deciding(typed_overrides(directory)) for directory in runs}
    order = {
        directory: [(str(type(value)), value) for _, value in sorted(found[directory].items())] for directory in found
    }
    return {directory: found[directory] for directory in sorted(found, key=lambda directory: order[directory])}


def _runs_in(folder: Path) -> list[Path]:
    if (folder / "config.yaml").exists():
        return [folder]
    inside = folder / GEOMETRIES if (folder / GEOMETRIES).is_dir() else folder
    visible = [each for each in sorted(inside.iterdir()) if not each.name.startswith(".")]
    return [each for each in visible if (each / "config.yaml").exists()]


def deciding(overrides: Iterable[str]) -> dict[str, str | float]:
    """Split overrides of the command line, and leave out those that say how long and where a run goes.

    Args:
        overrides: such as '+system=N2' and 'bond_length=2.4'.

    Returns:
        Values by key, numbers as such.
    """
    pairs = (override.lstrip("+~").partition("=") for override in overrides)
    return {key: _number(value) for key, _, value in pairs if in_identity(key)}


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
