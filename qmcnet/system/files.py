"""Files that a user names: what is no file, or none of the kind expected, is refused before it is read."""

import stat
from pathlib import Path

_LARGEST_FILE = 50_000_000


def checked_file(path: str | Path) -> Path:
    """Refuse a path that is not an ordinary file of a sensible size; nothing is opened, so nothing can hang.

    Args:
        path: path of a file.

    Returns:
        The path.

    Raises:
        ValueError: there is no such file, or it is a directory, a pipe, a device, empty or larger than 50 MB.
    """
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as error:
        raise ValueError(f"path={str(path)!r} cannot be read: {getattr(error, 'strerror', error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"path={str(path)!r} cannot be read: Is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"path={str(path)!r} is a pipe, a socket or a device: give an ordinary file")
    if not 0 < found.st_size <= _LARGEST_FILE:
        size = f"has {found.st_size / 1e6:.0f} MB" if found.st_size else "is empty"
        raise ValueError(f"path={str(path)!r} {size}: give a file with the geometry of one molecule")
    return Path(path)


def read_lines(path: str | Path) -> list[str]:
    """Read a text file; byte-order marks are left out.

    Args:
        path: path of a file.

    Returns:
        Its lines.

    Raises:
        ValueError: the file cannot be read or is not a text file.
    """
    try:
        content = checked_file(path).read_bytes()
    except OSError as error:
        raise ValueError(f"path={str(path)!r} cannot be read: {error.strerror}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = content.decode(encoding, errors="replace")
    if "\0" in text or text.count("\ufffd") > len(text) // 10:
        raise ValueError(f"path={str(path)!r} is not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
