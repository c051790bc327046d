"""Orderly stops: signals and the wall-time budget finish the step, save, and leave with exit status 75."""

import logging
import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

from qmcnet.checks import positive
from qmcnet.compute.launch import STOPPING

logger = logging.getLogger(__name__)

EXIT_STATUS = 75
"""EX_TEMPFAIL: stopped with a good checkpoint; the same command continues."""


PATIENCE = 0.5
"""Seconds within which a second Ctrl-C is the same one, such as of a finger that stays on the key."""


class Interrupted(Exception):
    """Raised between two steps once the run has been saved."""


class Interruption:
    """Watches for signals and the end of a time budget while in a `with` block."""

    def __init__(self, wall_time: float | None) -> None:
        """Start the clock.

        Args:
            wall_time: seconds after which to stop; None for no limit.

        Raises:
            ValueError: if the budget is not positive.
        """
        positive(wall_time=wall_time)
        self.wall_time, self.start = wall_time, time.monotonic()
        self.reason: str | None = None
        self._received: tuple[int, FrameType | None] | None = None
        self._when = 0.0
        self._previous: dict[int, Any] = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received and number == signal.SIGINT and time.monotonic() - self._when > PATIENCE:
            raise KeyboardInterrupt  # whoever asks again does not want to wait for the step
        self._received, self._when = (number, frame), time.monotonic()
        self.reason = f"received {signal.Signals(number).name}"

    def requested(self) -> str | None:
        """Say why the run should stop after this step, if it should."""
        if self.wall_time is not None and time.monotonic() - self.start > self.wall_time:
            self.reason = self.reason or f"wall_time={self.wall_time:g} s used up"
        return self.reason

    def __enter__(self) -> Self:
        """Install the signal handlers, in the main thread."""
        try:
            for number in STOPPING:
                # nohup ignores SIGHUP, and wants it to stay so.
                if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._receive)
        except ValueError:  # Python allows handlers in the main thread only; a notebook server may not run there.
            self._previous.clear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back, and let one of a job scheduler know what came: it may queue the job again."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._received and kind is Interrupted:
            handler = self._previous[self._received[0]]
            if callable(handler) and handler is not signal.default_int_handler:
                try:
                    handler(*self._received)
                except BaseException:  # which ends the process before anything else is said of the stop
                    logger.warning("%s", error)
                    raise
