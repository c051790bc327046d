"""Reads all that a run directory holds for a report, and changes nothing there."""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from qmcnet.report.diffused import Diffused
from qmcnet.report.record import Record, Table
from qmcnet.report.result import Result
from qmcnet.report.sweep import Point
from qmcnet.run.checkpoint import age, stage_and_step
from qmcnet.run.description import molecule_of
from qmcnet.run.directory import RunDirectoryError, read_config, typed_overrides
from qmcnet.run.points import deciding, point
from qmcnet.stages.burn_in import BurnIn
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.pretraining import Pretraining
from qmcnet.system.molecule import Molecule

WARNED = re.compile(r"^\[[^]]*\] WARNING (.*)$", re.MULTILINE)
DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError)
"""What files of others can do to their readers."""
LARGEST = 64 * 2**20
"""Bytes of a log or a table of steps that are read; more of them are those of no run."""
MOST = 20
"""Sentences of a kind that are kept, the last ones."""

Read = TypeVar("Read")


def read_record(run: Path | Point) -> Record:
    """Read a run directory.

    Args:
        run: directory of a run that is done, unfinished, failed or damaged, or what a sweep knows of it.

    Returns:
        What is known of it.
    """
    found = run if isinstance(run, Point) else point(run, deciding(typed_overrides(run)))
    directory, config = found.directory, _config(found.directory)
    overrides = typed_overrides(directory)
    places = {stage.name: directory / stage.name for stage in (Pretraining, BurnIn, Optimization, Evaluation)}
    places[Optimization.name] = directory
    kinds = (Pretraining, BurnIn, Optimization, Evaluation)
    tables = {kind.name: _table(places[kind.name] / kind.table) for kind in kinds}
    evaluations = _results(directory / Evaluation.name, Result.read)
    diffusions = _results(directory / Diffusion.name, Diffused.read)
    folders = [directory, *(directory / Evaluation.name / name for name in evaluations)]
    return Record(
        point=found,
        command=shlex.join(["qmcnet-train", *overrides]) if overrides else None,
        config=config,
        molecule=_molecule(config),
        tables={name: table for name, table in tables.items() if table},
        seconds=_seconds(directory) | _diffusing(directory / Diffusion.name, diffusions),
        evaluations=evaluations,
        diffusions=diffusions,
        densities={path.stem: path for folder in reversed(folders) for path in sorted(folder.glob("density*.cube"))},
        warnings=list(dict.fromkeys(WARNED.findall(_text(directory / "train.log"))))[-MOST:],
        trouble=_trouble(directory / "postmortem"),
    )


def _config(directory: Path) -> dict[str, Any]:
    with suppress(RunDirectoryError):
        return read_config(directory)
    return {}


def _molecule(config: Mapping[str, Any]) -> Molecule | None:
    with suppress(*DAMAGE):
        return molecule_of(config)
    return None


def _text(path: Path) -> str:
    with suppress(OSError):
        if path.stat().st_size <= LARGEST:
            return path.read_text(encoding="utf-8", errors="replace")
    return ""


def _table(path: Path) -> Table:
    """Columns of a table of steps; rows that are cut short by a crash are left out."""
    header, *rows = _text(path).splitlines() or [""]
    names = header.split(",")
    if names[0] != "step":
        return {}
    found = [numbers for row in rows if (numbers := _numbers(row, len(names)))]
    columns: NDArray[np.float64] = np.array(found, dtype=np.float64).reshape(-1, len(names)).T
    return dict(zip(names, columns, strict=True)) if found else {}


def _numbers(row: str, count: int) -> list[float]:
    with suppress(ValueError):
        numbers = [float(cell) for cell in row.split(",")]
        return numbers if len(numbers) == count else []
    return []


def _results(folder: Path, read: Callable[[Path], Read]) -> dict[str, Read]:
    """Read the results in the folders of a folder; damaged ones are left out."""
    found = dict[str, Read]()
    for path in sorted(folder.glob("*/result.json"), key=lambda path: path.parent.name):
        with suppress(*DAMAGE):
            found[path.parent.name] = read(path)
    return found


def _seconds(directory: Path) -> dict[str, float]:
    """Time that each stage has taken, by the last of its checkpoints."""
    paths = sorted(filter(age, (directory / "checkpoints").glob("*.pt")), key=age)
    last = {stage_and_step(path)[0]: path for path in paths}
    found, before = dict[str, float](), 0.0
    for stage, path in last.items():
        if (after := _wall_seconds(path)) is not None:
            found[stage], before = max(after - before, 0.0), after
    return found


def _diffusing(folder: Path, names: Iterable[str]) -> dict[str, float]:
    """Time that all of diffusion Monte Carlo has taken, by the first and last checkpoints of each series."""
    total = 0.0
    for name in names:
        paths = sorted(filter(age, (folder / name / "checkpoints").glob("*.pt")), key=age)
        ends = [_wall_seconds(path) for path in paths[:1] + paths[-1:]]
        total += max((ends[1] or 0.0) - (ends[0] or 0.0), 0.0) if len(ends) == 2 else 0.0
    return {Diffusion.name: total} if total else {}


def _wall_seconds(path: Path) -> float | None:
    """Duration of a run until a checkpoint, whose tensors stay where they are."""
    with suppress(*DAMAGE, EOFError):
        return float(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["wall_seconds"])
    return None


def _trouble(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.json"))[-MOST:]:
        with suppress(*DAMAGE):
            content = json.loads(_text(path))
            found.append(f"{content['stage']} step {content['step']}: {content['bad_walkers']} walkers were not finite")
    return found
