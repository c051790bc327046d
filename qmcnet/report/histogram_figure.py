"""Figures of what is measured by distance: electrons about nuclei, and pairs of electrons."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmcnet.report.drawing import legend_above, new, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

LABELS = {
    "radial": ("distance from a nucleus / bohr", "electrons per bohr"),
    "pair": ("distance of two electrons / bohr", "pairs per bohr"),
}
MOST = 10
"""Curves that can be told apart."""


def draw_histogram(states: Sequence[Mapping[str, Any]], name: str) -> "Drawing":
    """Draw an observable whose components are named after a kind and a distance.

    Args:
        states: what was measured of each state.
        name: 'radial' or 'pair'.

    Returns:
        The figure, with the error of each curve as a band.
    """
    drawing, (axes,) = new()
    curves = [(number, *curve) for number, state in enumerate(states) for curve in _curves(state[name])]
    for place, (number, kind, points) in enumerate(curves[:MOST]):
        distances, values, errors = np.array(points).T
        text = f"{kind}, state {number}" if len(states) > 1 else kind
        axes.plot(distances, values, color=f"C{place}", label=plain(text))
        axes.fill_between(distances, values - errors, values + errors, alpha=0.25, linewidth=0, color=f"C{place}")
    axes.set(xlabel=LABELS[name][0], ylabel=LABELS[name][1], ylim=(0, None), xlim=(0, None))
    legend_above(axes)
    return drawing


def _curves(parts: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """Sort the components of a histogram by kind; those that are not known are left out."""
    found = dict[str, list[tuple[float, float, float]]]()
    for component, figure in parts.items():
        kind, _, distance = component.rpartition(" ")
        if figure["value"] is not None:
            found.setdefault(kind, []).append((float(distance), figure["value"], figure["error"] or 0.0))
    return [(kind, points) for kind, points in found.items() if any(value for _, value, _ in points)]
