"""Several runs side by side."""

from collections.abc import Iterator, Sequence

from qmcnet.report.curve_figure import curve_diagram
from qmcnet.report.drawing import plain
from qmcnet.report.page.blocks import Block, Code, Facts, Grid, Notes, Section, picture
from qmcnet.report.page.energy import result
from qmcnet.report.page.system import molecule
from qmcnet.report.record import Record
from qmcnet.report.sweep import Sweep
from qmcnet.report.training_figure import draw_learning, trained_by
from qmcnet.words import duration

MOST_COLUMNS = 3
"""Settings in which runs differ that a table shows."""
MOST_CURVES = 12
"""Curves of one figure that can be told apart."""


def overview(records: Sequence[Record]) -> Section:
    """Put runs side by side.

    Args:
        records: of the runs.

    Returns:
        The section.
    """
    return Section("Side by side", list(_overview(records)))


def _overview(records: Sequence[Record]) -> Iterator[Block]:
    sweep = Sweep([record.point for record in records])
    varied, labels = len(sweep.varied), sweep.labels()
    header, *rows = sweep.cells()
    if varied > MOST_COLUMNS:  # the energies would be out of sight
        header, rows = (
            ["run", *header[varied:]],
            [[label, *row[varied:]] for label, row in zip(labels, rows, strict=True)],
        )
    yield Grid("Energies of the runs", header, rows)
    if lines := sweep.constants():
        yield Facts([(line[:16].rstrip(), line[17:]) for line in lines])
    if drawn := sweep.drawn():
        drawing = curve_diagram(drawn[0], drawn[1], plain(drawn[2]))
        yield picture(
            drawing, "curve", f"Energies against {drawn[2]}", "Energies with their errors, and what was fitted."
        )
    if first := dict(list(trained_by(records).items())[:MOST_CURVES]):
        said = f"Learning curves of {', '.join(first)}"
        yield picture(draw_learning(first), "learning", said, "Energy and variance by optimisation step.")
    rows = [[label, *_quality(record)] for label, record in zip(labels, records, strict=True)]
    yield Grid("Diagnostics of the runs", ["run", "variance / Ha²", "tau", "R-hat", "time"], rows)
    first_molecule = records[0].molecule
    if first_molecule and all(record.molecule == first_molecule for record in records):
        yield from molecule(first_molecule)


def _quality(record: Record) -> list[str]:
    found = record.result
    figures = [f"{found.variance:.3g}", f"{found.tau:.2f}", f"{found.r_hat:.4f}"] if found else ["-"] * 3
    spent = sum(record.seconds.values())
    return [*figures, duration(spent) if spent else "-"]


def short(record: Record, label: str) -> Section:
    """Say of one of several runs what it found and how it was started.

    Args:
        record: of the run.
        label: what tells it apart.

    Returns:
        The section.
    """
    blocks = [Facts([("directory", record.name)]), *result(record).blocks]
    if record.warnings:
        blocks.append(Notes(record.warnings, "warning"))
    if record.command:
        blocks.append(Code("Command", record.command))
    return Section(label, blocks)
