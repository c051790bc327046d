"""Progress of a stage: a live bar on a terminal, a line now and then in a log file."""

import logging
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class StageProgress:
    """Shows how far a stage is."""

    def __init__(self, stage: str, log_seconds: float) -> None:
        """Open the bar, or wait to log.

        Args:
            stage: name of the stage.
            log_seconds: seconds between lines where the output is not a terminal.
        """
        self.stage, self.log_seconds = stage, log_seconds
        self.last = time.monotonic()
        # A notebook sets FORCE_COLOR for what it starts, which is no terminal for all that.
        console = Console(stderr=True, force_terminal=sys.stderr.isatty())
        self.bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, TextColumn("{task.fields[status]}"), console=console, transient=True)
            self.task = self.bar.add_task(stage, total=None, status="")
            self.bar.start()

    def show(self, done: int, total: int, status: str) -> None:
        """Update the bar, or log when it is time.

        Args:
            done: steps done.
            total: steps planned.
            status: the figures that matter, in a few words.
        """
        if self.bar:
            self.bar.update(self.task, completed=done, total=total, status=status)
        elif time.monotonic() - self.last >= self.log_seconds:
            self.last = time.monotonic()
            logger.info("%s %d/%d  %s", self.stage, done, total, status)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar:
            self.bar.stop()
