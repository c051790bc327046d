"""What a cell prints, in one piece: IPython hands on the output of a command a hundred letters at a time.

MyST-NB 1.4 puts an end of line between such pieces, in the middle of words; so its function is replaced.
"""

from typing import Any

from myst_nb.core import render
from sphinx.application import Sphinx


def joined(outputs: list[Any]) -> list[Any]:
    """Join the pieces of each stream, where the first of them stands.

    Args:
        outputs: of a cell.

    Returns:
        The outputs, each stream once.
    """
    streams: dict[str, Any] = {}
    found = []
    for output in outputs:
        name = output["name"] if output["output_type"] == "stream" else None
        if name in streams:
            streams[name]["text"] += output["text"]
            continue
        found.append(output.copy())
        if name is not None:
            streams[name] = found[-1]
    return found


def setup(app: Sphinx) -> dict[str, Any]:
    """Put it in the place of MyST-NB's.

    Args:
        app: the build.

    Returns:
        What Sphinx wants to know of an extension.
    """
    render.coalesce_streams = joined
    return {"parallel_read_safe": True, "parallel_write_safe": True}
