"""The lock of a run directory, which a process holds while it runs there, and which others may look at.

A run has an exclusive lock. Whoever looks takes a shared one for a moment: so two that look do not see each other, and
a run that begins meanwhile tries again.
"""

import errno
import logging
import os
import random
import time
from pathlib import Path
from typing import TextIO

from qmcnet.run.directory import RunDirectoryError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
"""What the system answers where nothing may be written; the result of a finished run can be shown all the same."""

TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the system answers when another process holds a lock; anything else means that it has no locks."""

ATTEMPTS, PAUSE = 200, 0.02
"""How often a lock is tried while others look at it, and seconds at most between two attempts."""


def lock(directory: Path) -> TextIO:
    """Make a run directory and reserve it for this process until the returned file is closed.

    Args:
        directory: the run directory.

    Returns:
        The open lock file.

    Raises:
        RunDirectoryError: if another process is running there.
        OSError: if the lock file cannot be written for another reason than that nothing can.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        file = open(directory / ".lock", "a+", opener=_of_no_link)  # ruff: ignore[open-file-with-context-handler]
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        logger.warning("nothing can be written to %s: %s", directory, error.strerror)
        return open(os.devnull)
    try:
        if fcntl:
            _reserve(file)
        else:
            logger.warning("nothing guards %s against a second process: Windows has no flock", directory)
    except OSError as error:
        if error.errno in TAKEN:
            file.close()
            raise RunDirectoryError(f"another process is running in {directory}; wait for it or stop it") from None
        logger.warning("nothing guards %s against a second process: %s", directory, error.strerror)
    return file


def _of_no_link(path: str, flags: int) -> int:
    """Open what is no link to a file elsewhere, where the system tells."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _reserve(file: TextIO) -> None:
    """Take an exclusive lock: one that only looks, by a shared lock, is gone at once; another that runs is not."""
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in TAKEN:
                raise
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # raises where a run holds it
        fcntl.flock(file, fcntl.LOCK_UN)
        time.sleep(random.uniform(0, PAUSE))  # by chance, so that of two that begin at once one is first
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(directory: Path) -> bool:
    """Tell whether a process is running in a directory; disturbs neither it, nor one that begins, nor others that look.

    Args:
        directory: any directory.

    Returns:
        Whether it is; no where that cannot be found out.
    """
    try:
        file = open(directory / ".lock")  # ruff: ignore[open-file-with-context-handler]
    except OSError:
        return False
    with file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in TAKEN
    return False
