"""A figure of energies against a setting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FINE = 200
"""Places at which a fitted curve is drawn."""
Series = Sequence[Sequence[tuple[float, float, float]]]
"""Of each state, values of the setting, energies and errors in hartree."""
Curves = Sequence[Callable[..., Any] | None]
"""Of each state, the energy at values of the setting, or None."""


def draw_curves(series: Series, curves: Curves, label: str, folder: Path) -> None:
    """Draw the energies of all states into files.

    Args:
        series: the energies.
        curves: what was fitted to them.
        label: of the setting, with its unit.
        folder: where `curve.svg` and `curve.png` go.
    """
    drawing = curve_diagram(series, curves, label)
    for kind in ("svg", "png"):
        drawing.savefig(folder / f"curve.{kind}", dpi=150)


def curve_diagram(series: Series, curves: Curves, label: str) -> "Drawing":
    """Draw the energies of all states with their errors, and what was fitted to them.

    Args:
        series: the energies.
        curves: what was fitted to them.
        label: of the setting, with its unit.

    Returns:
        The figure.
    """
    from matplotlib.figure import Figure as Drawing  # takes half a second to import

    drawing = Drawing(figsize=(6, 4), layout="constrained")
    axes = drawing.subplots()
    for number, (points, curve) in enumerate(zip(series, curves, strict=True)):
        places, energies, errors = np.array(points).T
        axes.errorbar(places, energies, errors, fmt="o", markersize=4, capsize=3, color=f"C{number}")
        if curve:
            fine = np.linspace(places.min(), places.max(), FINE)
            axes.plot(fine, curve(fine), linewidth=1, color=f"C{number}")
    axes.set(xlabel=label, ylabel="energy / hartree")
    return drawing
