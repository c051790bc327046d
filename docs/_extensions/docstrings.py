"""Docstrings are plain text: what reStructuredText would take for markup is kept as it stands."""

import re
from typing import Any

from sphinx.application import Sphinx

MARKUP = re.compile(r"`([^`]+)`|([\\*|])|(?<=\w)(_)(?!\w)")
"""Code in single quotes, characters that begin markup, and an underscore that would make a reference."""


def literal(line: str) -> str:
    """Protect a line.

    Args:
        line: of a docstring.

    Returns:
        The line in reStructuredText that shows it.
    """
    item = re.match(r"\s*\* ", line)
    start = item.end() if item else 0
    return line[:start] + MARKUP.sub(_protected, line[start:])


def _protected(match: re.Match[str]) -> str:
    return f"``{match[1]}``" if match[1] else f"\\{match[0]}"


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Protect a docstring before its sections are read; the arguments are those of autodoc-process-docstring."""
    lines[:] = [line if re.match(r"\s*\*\*?\w+: ", line) else literal(line) for line in lines]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it before napoleon.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    app.connect("autodoc-process-docstring", process, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
