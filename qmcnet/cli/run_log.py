"""The log file of a run: opened once the run may use its directory, with what was said before."""

import logging
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType
from typing import Self

FORMAT = "[%(asctime)s] %(levelname)s %(message)s"


class RunLog:
    """Keeps messages while in a `with` block, in memory at first and then in a file."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.messages = MemoryHandler(capacity=2**31, flushLevel=logging.CRITICAL + 1, flushOnClose=False)

    def open(self, path: Path) -> None:
        """Write what was said so far, and from now on all that is said.

        Args:
            path: log file, to whose end it goes.
        """
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter(FORMAT))
        self.messages.setTarget(file)
        self.messages.flush()
        self.messages.capacity = 1

    @property
    def opened(self) -> bool:
        """Whether there is a file, so that a run directory is that of this process."""
        return self.messages.target is not None

    def __enter__(self) -> Self:
        """Listen to all messages."""
        logging.getLogger().addHandler(self.messages)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        logging.getLogger().removeHandler(self.messages)
        if self.messages.target:
            self.messages.target.close()
        self.messages.close()
