"""Tables of the statistics of every step, mended where a run continues."""

import logging
from pathlib import Path

from qmcnet.compute.files import atomic_write, set_aside

logger = logging.getLogger(__name__)


def cut_back(path: Path, last_step: int) -> tuple[int, list[int]]:
    """Drop the rows of a CSV file after a step, which a resumed run will write again, and mark those that are lost.

    A file that is no table is set aside under a name that says so.

    Args:
        path: CSV file whose first column is the step.
        last_step: last step to keep.

    Returns:
        Number of rows dropped, and the steps up to the last that the file lacks; where it has a header, they stand in
        it as nan.
    """
    lines = _lines(path)
    header = lines[0] if lines else ""
    if path.exists() and lines and not header.startswith("step,"):
        logger.warning("%s is damaged: it is no table of steps, %s", path.name, set_aside(path))
        lines, header = [], ""
    columns = header.count(",")
    rows: dict[int, str] = {}
    for line in lines[1:]:
        # A line cut short by a crash has too few columns, and its step is not to be trusted.
        step, *others = line.split(",")
        if len(others) == columns and others[-1] and step.isdecimal() and int(step) <= last_step:
            rows[int(step)] = line
    dropped, missing = len(lines) - len(rows) - bool(lines), [s for s in range(1, last_step + 1) if s not in rows]
    if header and (dropped or missing):
        rows |= {step: lost_row(step, columns) for step in missing}
        text = "\n".join([header, *(rows[step] for step in sorted(rows))]) + "\n"
        atomic_write(path, lambda file: file.write(text.encode()))
    return dropped, missing


def mend(path: Path, last_step: int) -> list[int]:
    """Bring a CSV file to where a run continues, and say what is lost.

    Args:
        path: CSV file whose first column is the step.
        last_step: last step to keep.

    Returns:
        Steps up to the last that it lacks.
    """
    dropped, missing = cut_back(path, last_step)
    if dropped:
        logger.info("%s: %d rows after step %d will be written again", path.name, dropped, last_step)
    if missing:
        logger.warning(
            "%s lacks %d of the steps %d to %d: they are nan", path.name, len(missing), missing[0], missing[-1]
        )
    return missing


def lost_row(step: int, columns: int) -> str:
    """Stand for a row that is lost.

    Args:
        step: its step.
        columns: its numbers besides.

    Returns:
        The row.
    """
    return ",".join([str(step), *["nan"] * columns])


def _lines(path: Path) -> list[str]:
    if path.is_dir():
        logger.warning("%s is damaged: it is a directory, %s", path.name, set_aside(path))
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
