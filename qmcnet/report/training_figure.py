"""Figures of energies and variances against steps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qmcnet.report.drawing import column, legend_above, new, plain
from qmcnet.report.record import Record, Table
from qmcnet.report.sweep import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

TRAINED, EVALUATED = "optimization", "evaluation"
"""Stages whose energies are drawn."""
PLACES = 160
"""Points of a curve."""
LATE = 0.3
"""Share of the curve whose energies, high above all others, the axis leaves out."""


def draw_learning(
    runs: Mapping[str, Table], energies: Sequence[float] = (), reference: float | None = None
) -> "Drawing":
    """Draw energy and variance while runs are trained.

    Args:
        runs: statistics of the steps by the name of each run.
        energies: of the states of a single run in the end, in hartree.
        reference: reference energy, in hartree.

    Returns:
        The figure.
    """
    drawing, (above, below) = new(2, 4.4)
    shown: list[float] = list(energies) + ([] if reference is None else [reference])
    lines = 0
    for label, table in runs.items():
        states = [name for name in table if name.startswith("state_")] if len(runs) == 1 else []
        for number, name in enumerate(states if len(states) > 1 else ["energy"]):
            steps, values = column(table, name, PLACES)
            text = f"state {number}" if len(states) > 1 else label
            above.plot(steps, values, color=f"C{lines % 10}", label=plain(text))
            shown += values[int(LATE * len(values)) :].tolist()
            lines += 1
        if "variance" in table:
            steps, values = column(table, "variance", PLACES)
            below.plot(steps, values, color=f"C{(lines - 1) % 10}" if len(runs) > 1 else "C0")
    for energy in energies:
        above.axhline(energy, linewidth=0.8, linestyle=":", color="C7")
    if reference is not None:
        above.axhline(reference, linewidth=1, linestyle="--", color="C3", label="reference")
    _frame(above, shown)
    above.set_ylabel("energy / hartree")
    logarithmic(below)
    below.set(xlabel="optimisation step", ylabel="variance / hartree²")
    legend_above(above)
    return drawing


def trained_by(records: Sequence[Record]) -> dict[str, Table]:
    """Find the runs that have made optimisation steps.

    Args:
        records: of runs.

    Returns:
        Statistics of their steps, by what tells the runs apart.
    """
    labels = Sweep([record.point for record in records]).labels()
    tables = [record.tables.get(TRAINED, {}) for record in records]
    return {label: table for label, table in zip(labels, tables, strict=True) if {"energy", "variance"} <= table.keys()}


def draw_evaluation(table: Table, energy: float | None, error: float | None) -> "Drawing":
    """Draw the energies of an evaluation, and what their mean was after each of them.

    Args:
        table: statistics of the steps.
        energy: what was found, in hartree.
        error: its error, in hartree.

    Returns:
        The figure.
    """
    drawing, (axes,) = new()
    steps, values = column(table, "energy", 60)
    axes.plot(steps, values, "o", markersize=3, alpha=0.6, label="mean of some steps")
    axes.plot(steps, np.cumsum(values) / np.arange(1, len(values) + 1), color="C1", label="mean so far")
    if energy is not None and error is not None:
        axes.axhspan(energy - error, energy + error, alpha=0.25, color="C2", linewidth=0, label="result and its error")
    axes.set(xlabel="evaluation step", ylabel="energy / hartree")
    axes.ticklabel_format(axis="y", useOffset=False)
    legend_above(axes)
    return drawing


def logarithmic(axes: Any) -> None:
    """Make an ordinate logarithmic, if anything can be seen there, with numbers that are no formulas."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    if not any((line.get_ydata() > 0).any() for line in axes.lines):
        return
    axes.set_yscale("log", nonpositive="mask")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_ylim()
    minor = FuncFormatter(lambda value, _: f"{value:g}") if high < 10 * low else NullFormatter()
    axes.yaxis.set_minor_formatter(minor)


def _frame(axes: Any, shown: Sequence[float]) -> None:
    finite = [value for value in shown if np.isfinite(value)]
    if finite and (height := max(finite) - min(finite)) > 0:
        axes.set_ylim(min(finite) - 0.08 * height, max(finite) + 0.12 * height)
    axes.ticklabel_format(axis="y", useOffset=False)
