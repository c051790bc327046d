"""Where the statistics of a stage go: a CSV file and TensorBoard."""

import csv
import io
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from qmcnet.compute.files import naming
from qmcnet.report.csv_table import lost_row, mend

logger = logging.getLogger(__name__)

FIRST_COLUMNS = ("step", "energy", "ewmean", "ewvar", "pmove")


class Writer:
    """Writes the statistics of one stage."""

    def __init__(self, folder: Path, table: str, tag: Callable[[str], str], step: int) -> None:
        """Open the files of a stage, cut back to where it starts.

        Args:
            folder: where to write; one for each stage, since TensorBoard purges a whole folder on resume.
            table: name of the CSV file.
            tag: TensorBoard tag of a column.
            step: last step whose rows to keep.
        """
        self.tag, self.path = tag, folder / table
        folder.mkdir(parents=True, exist_ok=True)
        self.missing = mend(self.path, step)
        self.tensorboard = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, rows: Sequence[tuple[int, dict[str, float]]]) -> None:
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
                self.tensorboard.add_scalar(self.tag(name), value, step)
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

    def close(self) -> None:
        """Flush and close the event file."""
        self.tensorboard.close()
