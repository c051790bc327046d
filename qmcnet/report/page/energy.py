"""What a run found: energies, spectra, observables, diffusion Monte Carlo."""

from collections.abc import Iterator, Mapping

from qmcnet.report.density_figure import Cube, draw_density
from qmcnet.report.diffused import HEADER, Diffused
from qmcnet.report.diffusion_figure import draw_timesteps
from qmcnet.report.histogram_figure import LABELS, draw_histogram
from qmcnet.report.levels import level_diagram
from qmcnet.report.page.blocks import Block, Facts, Grid, Notes, Section, picture
from qmcnet.report.record import Record
from qmcnet.report.result import Result
from qmcnet.report.table import COLUMNS, cells, observed

MOST_DENSITIES = 6
"""Densities on a page, whose size is bounded."""
TITLES = {"radial": "Electrons about the nuclei", "pair": "Distances between electrons"}


def result(record: Record) -> Section:
    """Say how far a run is, and the energy.

    Args:
        record: of the run.

    Returns:
        The section.
    """
    found = record.result
    rows = [("status", record.point.status), *(found.facts() if found else [])]
    rows += [(f"dmc/{name}", each.facts()[0][1]) for name, each in record.diffusions.items()]
    blocks: list[Block] = [Facts(rows)]
    if found and found.caveats():
        blocks.append(Notes(found.caveats(), "warning"))
    for name, other in record.evaluations.items():
        blocks += [Notes([f"Evaluated further, in evaluation/{name}:"]), Facts(other.facts())]
    return Section("Energy", blocks)


def spectrum(record: Record) -> Section | None:
    """Show the states.

    Args:
        record: of the run.

    Returns:
        The section; None without an estimate.
    """
    found = record.result
    if found is None or not found.states:
        return None
    if len(found.states) == 1:
        return Section("Expectation values", [Facts(observed(record.states[0]))])
    return Section("Spectrum", list(_states(record, found)))


def _states(record: Record, found: Result) -> Iterator[Block]:
    yield Grid("Energies of the states", list(COLUMNS), cells(found.states))
    words = ", ".join(f"{state['excitation_ev']['value']:.2f}" for state in found.states)
    yield picture(
        level_diagram(found.states),
        "levels",
        f"Level diagram: excitation energies {words} eV",
        "Excitation energies, a column for each multiplicity; the width of a band is the error.",
    )
    if found.overlaps:
        rows = [[str(number), *(f"{value:.3f}" for value in row)] for number, row in enumerate(found.overlaps)]
        yield Grid("Overlaps of the states", ["state", *(row[0] for row in rows)], rows)
    for number, state in enumerate(record.states):
        yield Facts([(f"state {number}: {name}", text) for name, text in observed(state)])


def distributions(record: Record) -> Section | None:
    """Show densities and histograms, where they were measured.

    Args:
        record: of the run.

    Returns:
        The section; None where nothing was.
    """
    blocks: list[Block] = [
        picture(
            draw_histogram(record.states, name),
            name,
            f"{TITLES[name]}: a curve against the distance in bohr for each kind",
            f"{TITLES[name]}; a band is the error.",
        )
        for name in LABELS
        if record.states and all(isinstance(state.get(name), Mapping) for state in record.states)
    ]
    blocks += [
        picture(
            draw_density(Cube.read(path)),
            label,
            f"Electron density of {label.replace('_', ' of state ')}, seen from the side",
            f"{path.name}: the electron density along the line of sight; crosses are nuclei.",
        )
        for label, path in list(record.densities.items())[:MOST_DENSITIES]
    ]
    if (left := len(record.densities) - MOST_DENSITIES) > 0:
        blocks.append(Notes([f"The densities of {left} more states are in the run directory."]))
    return Section("Distributions", blocks) if blocks else None


def diffusion(record: Record) -> Section | None:
    """Show what diffusion Monte Carlo found.

    Args:
        record: of the run.

    Returns:
        The section; None where none was done.
    """
    each = enumerate(record.diffusions.items())
    found = [block for number, (name, done) in each for block in _diffused(f"dmc-{number}", name, done)]
    return Section("Diffusion Monte Carlo", found) if found else None


def _diffused(key: str, name: str, found: Diffused) -> Iterator[Block]:
    yield Grid(f"Time steps of dmc/{name}", list(HEADER), found.rows())
    yield Facts(found.facts())
    if found.caveats():
        yield Notes(found.caveats(), "warning")
    if len(found.points) > 1:
        said = f"Energy of dmc/{name} against the time step: {found.facts()[0][1]}"
        yield picture(draw_timesteps(found), key, said, "Energy at each time step with its error.")
