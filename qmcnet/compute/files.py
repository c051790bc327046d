"""Writing files whole or not at all, and saying which one it was that could not be written."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Put the name of a file into errors of the system that come without one, as those of a full disk do.

    Args:
        path: the file.

    Yields:
        Nothing.

    Raises:
        OSError: whatever is raised inside.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


class Remembering:
    """An open file that remembers what went wrong: `torch.save` turns a full disk into a RuntimeError.

    Attributes:
        error: of the last write that failed.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Wrap a file.

        Args:
            file: open for writing.
        """
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes.

        Args:
            data: the bytes.

        Returns:
            Their number.

        Raises:
            OSError: whatever the system says.
        """
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Hand over to the system what is in the buffer."""
        self.file.flush()


def set_aside(path: Path) -> str:
    """Rename what is damaged, so that it never counts again and nothing is lost.

    Args:
        path: a file or directory.

    Returns:
        Where it is now, in words.
    """
    aside, number = path.with_name(f"damaged-{path.name}"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"damaged{number}-{path.name}")
    try:
        path.rename(aside)
    except OSError as error:
        return f"it could not be renamed: {error.strerror}"
    return f"it is now {aside.name}"


def atomic_write(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file so that a crash or a full disk leaves the old one or the new one, never a part.

    Args:
        path: file to create or replace.
        write: called with an open binary file.

    Raises:
        OSError: if the file cannot be written, with its name.
        RuntimeError: any other of the call.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with naming(path):
        temporary.unlink(missing_ok=True)  # what a killed process left, or a link to a file elsewhere
        try:
            with open(temporary, "xb") as file:
                remembering = Remembering(file)
                try:
                    write(remembering)
                except RuntimeError:
                    if remembering.error is None:
                        raise
                    raise remembering.error from None
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        os.replace(temporary, path)
        synchronize_folder(path.parent)


def synchronize_folder(folder: Path) -> None:
    """Make the names in a folder outlast a crash of the machine, where the system can.

    Args:
        folder: the folder.
    """
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
