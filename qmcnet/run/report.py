"""Writes the reports of runs from their directories."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qmcnet.compute.team import by_first, team
from qmcnet.report.notebook import facts_html
from qmcnet.report.relaxation import is_relaxation
from qmcnet.report.sweep import Point
from qmcnet.run.points import point
from qmcnet.run.record import read_record

if TYPE_CHECKING:
    from qmcnet.run.vmc import VMC

logger = logging.getLogger(__name__)
NAME = "report.html"


def write_report(runs: Sequence[Path | Point], path: Path, folder: Path | None = None) -> Path:
    """Write the report of one run, of several side by side, or of a relaxation.

    Args:
        runs: their directories, or what a sweep knows of them.
        path: the file.
        folder: of all of them, which may hold what a relaxation has found.

    Returns:
        The file.
    """
    from qmcnet.report.page.render import write_page  # what draws and fills in is needed at the end alone

    relaxed = folder if folder and is_relaxation(folder) else None
    write_page([read_record(run) for run in runs], path, relaxed)
    return path


def report_at_end(runs: Sequence[Path | Point], folder: Path) -> None:
    """Write a report where something else was asked for; one that fails is worth a line and no more.

    Args:
        runs: their directories, or what a sweep knows of them.
        folder: where the report goes, if it is there.
    """
    if team().rank or not folder.is_dir():
        return
    try:
        logger.info("report           %s", write_report(runs, folder / NAME, folder))
    except (Exception, KeyboardInterrupt) as error:
        logger.warning("no report: %s", " ".join(f"{type(error).__name__} {error}".split()))
        logger.debug("raised here", exc_info=error)


@by_first
def report_of(run: "VMC") -> Path:
    """Write `report.html` into the directory of a run.

    Args:
        run: the run, done or not.

    Returns:
        The file.
    """
    return write_report([run.directory], run.directory / NAME)


def html_of(run: "VMC") -> str:
    """Show a run in a notebook: what it computes, and how far it is.

    Args:
        run: the run.

    Returns:
        A small table.
    """
    reached = point(run.directory, {})
    facts = [("directory", str(run.directory)), ("status", reached.status), ("ansatz", type(run.ansatz).__name__)]
    facts += [(name, str(getattr(run, name))) for name in ("n_states", "batch_size", "steps", "device")]
    return facts_html(
        run.molecule.summary().splitlines()[0], facts + (reached.result.facts() if reached.result else [])
    )
