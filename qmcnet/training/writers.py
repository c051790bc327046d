"""Where the statistics of a run go: CSV files and TensorBoard.

Rows are buffered as they come, tensors on their device, and fetched together every few steps, so that the step
loop does not wait for the device.
"""

import csv
import io
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from qmcnet.compute.transfer import to_host
from qmcnet.statistics.eigenstates import eigenstates
from qmcnet.training.checkpoint import atomic_write
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


def cut_back(path: Path, last_step: int) -> int:
    """Drop the rows of a CSV file after a step; a resumed run will write them again.

    Args:
        path: CSV file whose first column is the step.
        last_step: last step to keep.

    Returns:
        Number of rows dropped.
    """
    if not path.exists():
        return 0
    lines = path.read_text().splitlines()
    # A line cut short by a crash has too few columns, and its step is not to be trusted.
    columns = lines[0].count(",") if lines else 0
    whole = [line for line in lines[1:] if line.count(",") == columns and line.split(",")[-1]]
    kept = [line for line in whole if int(line.split(",", 1)[0]) <= last_step]
    dropped = len(lines) - 1 - len(kept)
    if dropped > 0:
        text = "\n".join([*lines[:1], *kept]) + "\n"
        atomic_write(path, lambda file: file.write(text.encode()))
    return dropped


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
        dropped = cut_back(self.path, step)
        if dropped:
            logger.info("%s: %d rows after step %d will be written again", self.path.name, dropped, step)
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
        for step, row in rows:
            table.writerow([step, *(repr(row.get(name, math.nan)) for name in columns[1:])])
            for name, value in row.items():
                self.tensorboard.add_scalar(self._tag(name), value, step)
        with open(self.path, "a") as file:
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
    """Write settings and final figures for TensorBoard's HParams table.

    Args:
        folder: where the event file goes.
        settings: flat settings; those that are not scalars are left out.
        metrics: final figures; nothing is written while one is unknown.
    """
    scalars = {key: value for key, value in settings.items() if isinstance(value, bool | int | float | str)}
    known = {f"hparam/{name}": value for name, value in metrics.items() if value is not None}
    if len(known) == len(metrics):
        with SummaryWriter(str(folder)) as writer:
            writer.add_hparams(scalars, known, run_name="hparams")
