"""What a page consists of; how each part looks is up to the templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from qmcnet.report.drawing import inline

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Facts:
    """Lines that each have a name; `rows` holds names and texts."""

    rows: Sequence[tuple[str, str]]
    kind: str = "facts"


@dataclass(frozen=True)
class Grid:
    """A table, named by `caption` for those who do not see it; `header` and `rows` hold its cells."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "grid"


@dataclass(frozen=True)
class Picture:
    """A figure: `svg` made here, which names it, and the `caption` below."""

    svg: str
    caption: str
    kind: str = "picture"


@dataclass(frozen=True)
class Notes:
    """Sentences, one paragraph each; `tone` is 'plain' or 'warning'."""

    sentences: Sequence[str]
    tone: str = "plain"
    kind: str = "notes"


@dataclass(frozen=True)
class Code:
    """Text as it was typed or stored, under a `caption`."""

    caption: str
    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Bars:
    """Shares of a whole: of each its name, its size in words, and its share between 0 and 1."""

    caption: str
    rows: Sequence[tuple[str, str, float]]
    kind: str = "bars"


@dataclass(frozen=True)
class Model:
    """A molecule in three dimensions, `xyz` as in a file, in angstrom, and its `name`."""

    xyz: str
    name: str
    kind: str = "model"


Block: TypeAlias = Facts | Grid | Picture | Notes | Code | Bars | Model


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading."""

    title: str
    blocks: Sequence[Block]


def picture(drawing: "Drawing", key: str, name: str, caption: str) -> Picture:
    """Make a figure a part of a page.

    Args:
        drawing: drawn in the style of a page.
        key: of the figure on its page.
        name: for those who do not see it.
        caption: below it.

    Returns:
        The block.
    """
    return Picture(inline(drawing, key, name), caption)
