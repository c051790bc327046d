"""Figures: how they look, and how they become files and parts of a page."""

import io
import math
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

INK = "#010203"
"""Stands for the colour of the text around a figure, which is not known before it is read."""
SIZE = (5.2, 3.4)
"""Inches."""
LINE = 50
"""Letters that the width of a figure holds."""
LOOK: Mapping[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 300,
    "svg.hashsalt": "qmcnet",
}
ON_PAGE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "savefig.transparent": True,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick", "grid")},
    **{f"axes.{part}color": INK for part in ("edge", "label")},
}
FONT = re.compile(r"(?<=style=\")font: ([\d.]+)px [^;\"<>]*")
DIGITS = re.compile(r"(\d\.\d{2})\d+")
NAMES = re.compile(r"""(\bid="|href="#|url\(#)([^")]+)""")


@contextmanager
def style(on_page: bool = False) -> Generator[None]:
    """Draw in the style of this package.

    Args:
        on_page: for a page, whose colours and letters figures take.

    Yields:
        Nothing.
    """
    import matplotlib

    look: Any = {**LOOK, **(ON_PAGE if on_page else {})}
    with matplotlib.rc_context(look):
        yield


def new(rows: int = 1, height: float = SIZE[1]) -> tuple["Drawing", list[Any]]:
    """Begin a figure.

    Args:
        rows: axes one below the other, which share the abscissa.
        height: in inches.

    Returns:
        The figure and its axes.
    """
    from matplotlib.figure import Figure as Drawing  # takes half a second to import

    drawing = Drawing(figsize=(SIZE[0], height))
    axes = drawing.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    # A layout that fits the labels draws everything twice.
    drawing.subplots_adjust(left=0.17, right=0.97, bottom=0.16 * SIZE[1] / height, top=0.96, hspace=0.12)
    return drawing, list(axes)


def legend_above(axes: Any) -> None:
    """Say what the curves are, above the first axes of a figure, where no curve is."""
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) < 2:
        return
    columns = max(1, min(len(labels), LINE // (4 + max(map(len, labels)))))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, columnspacing=1.2)
    drawing = axes.get_figure()
    drawing.subplots_adjust(top=0.98 - 0.19 / drawing.get_figheight() * math.ceil(len(labels) / columns))


def plain(text: str) -> str:
    """Keep a text from being read as a formula."""
    return text.replace("$", r"\$")


def column(table: Mapping[str, NDArray[np.float64]], name: str, places: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Average a column of a table of steps over so many stretches of it.

    Args:
        table: columns by name, with `step`.
        name: of the column.
        places: stretches at most.

    Returns:
        Mean step and mean value of each; numbers that are not finite are left out.
    """
    steps, values = table["step"], table[name]
    known = np.isfinite(values) & np.isfinite(steps)
    count = int(known.sum())
    length = max(1, math.ceil(count / places))
    first = count % length or length  # the last stretch, which is looked at most, is whole
    parts = (np.split(each[known], range(first, count, length)) if count else [] for each in (steps, values))
    means = [np.array([part.mean() for part in each]) for each in parts]
    return means[0], means[1]


def save(drawing: "Drawing", path: Path) -> None:
    """Write a figure for print.

    Args:
        drawing: the figure.
        path: its file; the ending says the kind.
    """
    drawing.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)


def inline(drawing: "Drawing", key: str, name: str) -> str:
    """Make a figure a part of a page.

    Args:
        drawing: drawn in the style of a page.
        key: of the figure, by which names in it differ from those in others.
        name: what a screen reader says of it.

    Returns:
        SVG that takes the colour of the text and the width of the place where it stands.
    """
    file = io.StringIO()
    drawing.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = file.getvalue()
    text = NAMES.sub(rf"\1{key}-\2", text[text.index("<svg") :].replace(INK, "currentColor"))
    text = re.sub(r' d="[^"]*"', lambda path: DIGITS.sub(r"\1", path[0]), text)
    text = re.sub(r"\s*\n\s*", " ", FONT.sub(r"font: \1px sans-serif", text))
    box = re.search(r'viewBox="[^"]*"', text)
    assert box
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]} role="img"'
    title = f"{key}-title"
    return f'{head} aria-labelledby="{title}"><title id="{title}">{escape(name)}</title>' + text[text.index(">") + 1 :]
