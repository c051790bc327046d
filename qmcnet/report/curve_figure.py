"""A figure of energies against a setting."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FINE = 200
"""Places at which a fitted curve is drawn."""


def draw_curves(
    series: Sequence[Sequence[tuple[float, float, float]]],
    curves: Sequence[Callable[..., Any] | None],
    label: str,
    folder: Path,
) -> None:
    """Draw the energies of all states with their errors, and what was fitted to them.

    Args:
        series: of each state, values of the setting, energies and errors in hartree.
        curves: of each state, the energy at values of the setting, or None.
        label: of the setting, with its unit.
        folder: where `curve.svg` and `curve.png` go.
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
    for kind in ("svg", "png"):
        drawing.savefig(folder / f"curve.{kind}", dpi=150)
