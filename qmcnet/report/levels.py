"""A diagram of the levels of a spectrum."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmcnet.report.drawing import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def draw_levels(states: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw the excitation energies into a file.

    Args:
        states: as in `Spectrum`.
        title: written above.
        path: PNG file to write.
    """
    level_diagram(states, title).savefig(path, dpi=150)


def level_diagram(states: Sequence[Mapping[str, Any]], title: str = "") -> "Drawing":
    """Draw the excitation energies as levels, one column for each multiplicity.

    Args:
        states: as in `Spectrum`.
        title: written above.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure as Drawing  # takes half a second to import

    kinds = list(dict.fromkeys(state.get("multiplicity") or "spin not measured" for state in states))
    drawing = Drawing(figsize=(1.6 + 1.8 * len(kinds), 5), layout="constrained")
    axes = drawing.subplots()
    for index, state in enumerate(states):
        column = kinds.index(state.get("multiplicity") or "spin not measured")
        level, error = state["excitation_ev"]["value"], state["excitation_ev"]["error"] or 0.0
        axes.fill_between([column - 0.35, column + 0.35], level - error, level + error, alpha=0.3, color=f"C{column}")
        axes.plot([column - 0.35, column + 0.35], [level, level], color=f"C{column}")
        axes.annotate(str(index), (column + 0.37, level), va="center", fontsize=8)
    axes.set_xticks(range(len(kinds)), [plain(kind) for kind in kinds])
    axes.set_xlim(-0.6, len(kinds) - 0.4)
    axes.set_ylabel("excitation energy / eV")
    axes.set_title(plain(title))
    return drawing
