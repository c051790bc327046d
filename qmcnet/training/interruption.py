"""Orderly stops: signals and the wall-time budget finish the step, save, and leave with exit status 75."""

import signal
import time
from types import FrameType, TracebackType
from typing import Self

EXIT_STATUS = 75
"""EX_TEMPFAIL: stopped with a good checkpoint; the same command continues."""


class Interrupted(Exception):
    """Raised between two steps once the run has been saved."""


class Interruption:
    """Watches for SIGTERM, SIGINT and the end of a time budget while in a `with` block."""

    def __init__(self, wall_time: float | None) -> None:
        """Start the clock.

        Args:
            wall_time: seconds after which to stop; None for no limit.

        Raises:
            ValueError: if the budget is not positive.
        """
        if wall_time is not None and not wall_time > 0:
            raise ValueError(f"wall_time={wall_time} must be a positive number of seconds, or null")
        self.wall_time, self.start = wall_time, time.monotonic()
        self.reason: str | None = None
        self._previous: dict[int, object] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.reason = f"received {signal.Signals(number).name}"

    def requested(self) -> bool:
        """Whether the run should stop after this step."""
        if self.wall_time is not None and time.monotonic() - self.start > self.wall_time:
            self.reason = self.reason or f"wall_time={self.wall_time:g} s used up"
        return self.reason is not None

    def __enter__(self) -> Self:
        """Install the signal handlers, in the main thread."""
        try:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        except ValueError:  # Python allows handlers in the main thread only; a notebook server may not run there.
            self._previous.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
