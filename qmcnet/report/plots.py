"""Figures for print of what runs have measured."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qmcnet.report.density_figure import Cube, draw_density
from qmcnet.report.drawing import save, style
from qmcnet.report.histogram_figure import draw_histogram
from qmcnet.report.levels import level_diagram
from qmcnet.report.record import Record
from qmcnet.report.training_figure import draw_learning, trained_by

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

KINDS = (".svg", ".png", ".pdf")


class NotMeasured(ValueError):
    """Raised where runs have not measured what is to be drawn; says what would."""


def plot(records: Sequence[Record], what: str, path: Path) -> None:
    """Draw what runs have measured.

    Args:
        records: of the runs.
        what: one of PLOTS.
        path: the file; its ending is one of KINDS.

    Raises:
        NotMeasured: if they have not measured it, or if it is that of a single run and there are more.
    """
    if what != "energy" and len(records) > 1:
        raise NotMeasured(f"--what {what} is of a single run, and there are {len(records)}: name one of them")
    with style():
        save(PLOTS[what](records), path)


def _energy(records: Sequence[Record]) -> "Drawing":
    if not (trained := trained_by(records)):
        raise NotMeasured(f"{records[0].name} has made no optimisation step")
    found = records[0].result if len(records) == 1 else None
    energies = [state["energy"]["value"] for state in found.states] if found else []
    return draw_learning(trained, energies, found.reference["energy"] if found and found.reference else None)


def _spectrum(records: Sequence[Record]) -> "Drawing":
    states = records[0].states
    if len(states) < 2:
        raise NotMeasured(f"{records[0].name} has no spectrum: states=3 asks for three states")
    return level_diagram(states)


def _pair(records: Sequence[Record]) -> "Drawing":
    states = records[0].states
    if not states or not all("pair" in state for state in states):
        raise NotMeasured(_unmeasured(records[0], "pair"))
    return draw_histogram(states, "pair")


def _density(records: Sequence[Record]) -> "Drawing":
    densities = list(records[0].densities.values())
    if not densities:
        raise NotMeasured(_unmeasured(records[0], "density"))
    try:
        return draw_density(Cube.read(densities[0]))
    except ValueError as error:
        raise NotMeasured(str(error)) from None


def _unmeasured(record: Record, name: str) -> str:
    directory = record.point.directory
    return f"{record.name} has not measured it: qmcnet-evaluate run={directory} observables=[{name}] does"


PLOTS: Mapping[str, Callable[[Sequence[Record]], "Drawing"]] = {
    "energy": _energy,
    "spectrum": _spectrum,
    "density": _density,
    "pair": _pair,
}
"""What draws each kind of figure."""
