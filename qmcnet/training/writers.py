"""Where the statistics of a run go: CSV files and TensorBoard.

Rows are buffered as they come, tensors on their device, and fetched together every few steps, so that the step
loop does not wait for the device.
"""

import csv
import io
import logging
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from qmcnet.compute.files import atomic_write, naming, set_aside
from qmcnet.compute.transfer import to_host
from qmcnet.statistics.eigenstates import eigenstates
from qmcnet.training.stages import Row

logger = logging.getLogger(__name__)

TAGS = {
    "energy": ("energy", "ewmean", "ewvar"),
    "local_energy": ("variance", "minimum", "maximum", "kinetic", "potential", "nonfinite"),
    "sampling": ("pmove", "width", "stuck_share", "step_length", "log_prob"),
    "opt": ("grad_norm", "update_norm", "learning_rate", "momentum", "outliers", "kernel_lifted", "skipped"),
}
GROUPS = {name: group for group, names in TAGS.items() for name in names}
FIRST_COLUMNS = ("step", "energy", "ewmean", "ewvar", "pmove")


def fetch(rows: Iterable[Row]) -> list[dict[str, float]]:
    """Bring buffered rows to the host in one transfer from each device that holds a part of them.

    Args:
        rows: statistics by name, tensors and numbers mixed.

    Returns:
        The rows as plain numbers; a matrix `x` of S rows as its eigenvalues x_0, x_1, ... in ascending order.
    """
    rows = list(rows)
    fetched = iter(to_host([value for row in rows for value in row.values() if isinstance(value, Tensor)]))
    return [_numbers({k: next(fetched) if isinstance(v, Tensor) else v for k, v in row.items()}) for row in rows]


def _numbers(row: Row) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            numbers |= {f"{name}_{i}": energy for i, energy in enumerate(_eigenvalues(value))}
        else:
            numbers[name] = float(value.real)
    return numbers


def _eigenvalues(matrix: Tensor) -> list[float]:
    if not matrix.isfinite().all():
        return [math.nan] * len(matrix)
    return [float(energy) for energy in eigenstates(matrix.numpy())[0]]


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


class Writer:
    """Writes the statistics of one stage."""

    def __init__(self, folder: Path, stage: str, step: int) -> None:
        """Open the files of a stage, cut back to where it starts.

        Args:
            folder: where to write; one for each stage, since TensorBoard purges a whole folder on resume.
            stage: name of the stage.
            step: last step whose rows to keep.
        """
        self.stage = stage
        self.path = folder / ("train_stats.csv" if stage == "optimization" else f"{stage}_stats.csv")
        folder.mkdir(parents=True, exist_ok=True)
        self.missing = mend(self.path, step)
        self.tensorboard = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, rows: list[tuple[int, dict[str, float]]]) -> None:
        """Append rows; a file keeps the columns that it has, whatever version began it.

        Args:
            rows: step and statistics of each.
        """
        if not rows:
            return
        columns = self._header()
        buffer = io.StringIO()
        table: Any = csv.writer(buffer, lineterminator="\n")
        if not columns:
            columns = self._columns(rows[0][1])
            table.writerow(columns)
            buffer.write("".join(f"{lost_row(step, len(columns) - 1)}\n" for step in self.missing))
        for step, row in rows:
            table.writerow([step, *(repr(row.get(name, math.nan)) for name in columns[1:])])
            for name, value in row.items():
                self.tensorboard.add_scalar(self._tag(name), value, step)
        with naming(self.path), open(self.path, "a") as file:
            file.write(buffer.getvalue())

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write one number that belongs to TensorBoard alone, such as a time.

        Args:
            tag: its full tag.
            value: the number.
            step: the step it belongs to.
        """
        self.tensorboard.add_scalar(tag, value, step)

    def _header(self) -> list[str]:
        """Columns of the file; none of one that is not there, or that a crash left empty."""
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            return next(csv.reader(file), [])

    def _columns(self, row: dict[str, float]) -> list[str]:
        first = [name for name in FIRST_COLUMNS if name == "step" or name in row]
        return first + [name for name in row if name not in first]

    def _tag(self, name: str) -> str:
        if self.stage == "optimization":
            group = "energy" if name.startswith("state_") else GROUPS.get(name, "opt")
            return f"{group}/{'mean' if name == 'energy' else name}"
        return f"{self.stage}/{name}"

    def close(self) -> None:
        """Flush and close the event file."""
        self.tensorboard.close()


def write_hparams(folder: Path, settings: Mapping[str, Any], metrics: Mapping[str, float | None]) -> None:
    """Write settings and final figures for TensorBoard's HParams table, in place of those of a shorter run.

    TensorBoard lists the settings of all runs that it finds, since none of them says what the columns are.

    Args:
        folder: the run directory.
        settings: flat settings; those that are not scalars are left out, and so are names of classes.
        metrics: final figures; nothing is written while one is unknown.
    """
    named = {key: value for key, value in settings.items() if not key.rpartition(".")[2].startswith("_")}
    scalars = {key: value for key, value in named.items() if isinstance(value, bool | int | float | str)}
    if any(value is None for value in metrics.values()):
        return
    shutil.rmtree(folder / "hparams", ignore_errors=True)
    with SummaryWriter(str(folder / "hparams")) as writer:
        writer.file_writer.add_summary(hparams_pb(scalars, trial_id=str(folder)))
        for name, value in metrics.items():
            writer.add_scalar(f"hparam/{name}", value, 0)
