"""The structure that a relaxation has found, and the way there."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qmcnet.report.drawing import new
from qmcnet.report.page.blocks import Block, Facts, Grid, Section, picture
from qmcnet.report.page.system import molecule
from qmcnet.report.record import Record
from qmcnet.report.relaxation import Relaxation
from qmcnet.report.table import with_error
from qmcnet.report.training_figure import logarithmic

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing


def structure(folder: Path, record: Record) -> Section | None:
    """Show what a relaxation has found.

    Args:
        folder: of the relaxation.
        record: of one of its runs.

    Returns:
        The section; None where the molecule is not known.
    """
    if record.molecule is None:
        return None
    return Section("Structure", list(_structure(Relaxation.read(folder, record.molecule))))


def _structure(found: Relaxation) -> Iterator[Block]:
    yield Facts(found.facts())
    yield from molecule(found.molecule)
    caption = "Energies with their errors, and the largest force on a nucleus, of the geometries in their order."
    yield picture(path(found.points), "path", "Energies and forces of the geometries", caption)
    header = ["run", "energy / Ha", "largest force / mHa/bohr"]
    yield Grid("Energies and forces of the geometries", header, [_row(point) for point in found.points])


def _row(point: Any) -> list[str]:
    size, error = largest_force(point)
    energy = {"value": point["energy"], "error": point["error"]}
    return [point["directory"], with_error(energy, 6), with_error({"value": 1e3 * size, "error": 1e3 * error}, 1)]


def largest_force(point: Any) -> tuple[float, float]:
    """Find the largest force on a nucleus.

    Args:
        point: of a relaxation.

    Returns:
        Its size and its standard error, in hartree/bohr.
    """
    forces, errors = np.array(point["forces"]), np.array(point["force_errors"])
    sizes = np.linalg.norm(forces, axis=-1)
    atom = int(sizes.argmax())
    return float(sizes[atom]), float(np.linalg.norm(forces[atom] * errors[atom]) / max(sizes[atom], 1e-300))


def path(points: Sequence[Any]) -> "Drawing":
    """Draw energies and forces of the geometries in their order.

    Args:
        points: of a relaxation.

    Returns:
        The figure.
    """
    drawing, (above, below) = new(2, 4.4)
    numbers = range(len(points))
    energies, errors = (np.array([point[name] for point in points]) for name in ("energy", "error"))
    above.errorbar(numbers, energies, errors, fmt="o-", markersize=4, linewidth=0.8, capsize=3)
    above.set_ylabel("energy / hartree")
    sizes, spreads = np.array([largest_force(point) for point in points]).T
    below.errorbar(numbers, sizes, np.minimum(spreads, 0.9 * sizes), fmt="o-", markersize=4, linewidth=0.8, capsize=3)
    logarithmic(below)
    below.set(xlabel="geometry", ylabel="force / hartree/bohr")
    below.xaxis.get_major_locator().set_params(integer=True)
    return drawing
