"""Puts pages together from their sections."""

import base64
import hashlib
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from qmcnet.compute.files import atomic_write
from qmcnet.report.drawing import style
from qmcnet.report.page import energy, origin, several, structure, system, training
from qmcnet.report.page.blocks import Model, Notes, Section
from qmcnet.report.record import Record
from qmcnet.report.sweep import Sweep

logger = logging.getLogger(__name__)

OF_RUN: Mapping[str, Callable[[Record], Section | None]] = {
    "Energy": energy.result,
    "System": system.system,
    "Spectrum": energy.spectrum,
    "Diffusion Monte Carlo": energy.diffusion,
    "Learning curve": training.learning,
    "Distributions": energy.distributions,
    "Diagnostics": training.diagnostics,
    "Time": training.time,
    "Warnings": origin.warnings,
    "Settings": system.setup,
    "Made by": origin.origin,
    "How to cite": origin.citing,
}
"""Sections of a page of one run, in their order."""
DAMAGE = (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, OSError, RuntimeError)
"""What numbers that are no numbers do to a section."""


def write_page(records: Sequence[Record], path: Path, relaxation: Path | None = None) -> None:
    """Write the report of one run, of several side by side, or of a relaxation.

    Args:
        records: of the runs.
        path: the file.
        relaxation: folder of the relaxation that the runs were for.
    """
    text = page(records, relaxation).encode()
    atomic_write(path, lambda file: file.write(text))


def page(records: Sequence[Record], relaxation: Path | None = None) -> str:
    """Make the report of one run, of several side by side, or of a relaxation.

    Args:
        records: of the runs.
        relaxation: folder of the relaxation that the runs were for.

    Returns:
        HTML with all that it needs.
    """
    with style(on_page=True):
        title, sections, runs = _of_run(records[0]) if len(records) == 1 and not relaxation else _of_several(records)
        if relaxation:
            title = f"Relaxation: {relaxation.resolve().name}"
            sections.insert(0, _section("Structure", structure.structure, relaxation, records[0]))
    shown = [section for section in sections if section]
    solid = any(isinstance(block, Model) for section in shown for block in section.blocks)
    scripts = [_source("viewer.js"), _source("3Dmol-min.js")] if solid else []
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=title,
            sections=shown,
            runs=[section for section in runs if section],
            style=_source("style.css"),
            viewer=scripts[0] if solid else "",
            library=_packed(scripts[1]) if solid else "",
            licence=_source("3Dmol-LICENSE.txt") if solid else "",
            policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'",
            version=version("qmcnet"),
            made=datetime.now().astimezone().strftime("%d %B %Y, %H:%M %Z"),
        )
    )


def _of_run(record: Record) -> tuple[str, list[Section | None], list[Section | None]]:
    """Make the title of a page of one run, its sections, and none for runs."""
    return _title(record), [_section(title, make, record) for title, make in OF_RUN.items()], []


def _of_several(records: Sequence[Record]) -> tuple[str, list[Section | None], list[Section | None]]:
    """Make the title of a page of several runs, its sections, and one for each run."""
    sections = [_section("Side by side", several.overview, records), origin.citing(records[0])]
    labels = Sweep([record.point for record in records]).labels()
    runs = [_section(label, several.short, each, label) for each, label in zip(records, labels, strict=True)]
    return f"{len(records)} runs", sections, runs


def _title(record: Record) -> str:
    formula = record.molecule.formula if record.molecule else ""
    return record.name if record.name.startswith(formula) else f"{formula}: {record.name}"


def _section(title: str, make: Callable[..., Section | None], *arguments: object) -> Section | None:
    """Make a section, or say that what it is of cannot be read: a directory may be damaged, or of somebody else."""
    try:
        return make(*arguments)
    except DAMAGE as error:
        logger.debug("no section %s", title, exc_info=error)
        return Section(
            title,
            [Notes([f"What the run directory holds of this cannot be read ({type(error).__name__})."], "warning")],
        )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("qmcnet.report.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _source(name: str) -> str:
    return files("qmcnet.report.page").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _packed(text: str) -> str:
    """Compress what browsers unpack: a third of the size."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
