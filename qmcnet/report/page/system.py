"""What was simulated, and with what."""

from collections.abc import Iterator, Mapping
from typing import Any

from qmcnet.report.origin import geometry
from qmcnet.report.page.blocks import Block, Facts, Grid, Model, Notes, Section
from qmcnet.report.record import Record
from qmcnet.system.molecule import Molecule

PARTS = ("objective", "optimizer", "clipping", "schedule", "averaging", "sampler", "pretraining", "burn_in")
"""Groups of settings that are said, besides those of the ansatz."""
SCALARS = ("states", "batch_size", "steps", "accuracy", "seed", "dtype", "device", "observables", "init_from")


def system(record: Record) -> Section | None:
    """Show the molecule.

    Args:
        record: of the run.

    Returns:
        The section; None where the molecule is not known.
    """
    if record.molecule is None:
        return None
    return Section("System", list(molecule(record.molecule)))


def molecule(molecule: Molecule) -> Iterator[Block]:
    """Show a molecule and its geometry.

    Args:
        molecule: the molecule.

    Yields:
        The blocks.
    """
    first, *_ = lines = molecule.summary().splitlines()
    yield Notes([first, *lines[-1:]] if molecule.nearest_neighbour is not None else [first])
    if len(molecule.symbols) > 1:
        yield Model(xyz(molecule), f"{molecule.formula} in three dimensions")
    places = geometry(molecule)
    rows = [
        [symbol, *(f"{x:.6f}" for x in (*bohr, *angstrom))]
        for symbol, bohr, angstrom in zip(places["symbols"], places["bohr"], places["angstrom"], strict=True)
    ]
    units = [f"{axis} / {unit}" for unit in ("bohr", "Å") for axis in "xyz"]
    yield Grid("Geometry in bohr and in angstrom", ["nucleus", *units], rows)


def xyz(molecule: Molecule) -> str:
    """Write a molecule as an xyz file.

    Args:
        molecule: the molecule.

    Returns:
        Its text, in angstrom.
    """
    places = geometry(molecule)
    rows = [
        f"{symbol} {x:.6f} {y:.6f} {z:.6f}"
        for symbol, (x, y, z) in zip(places["symbols"], places["angstrom"], strict=True)
    ]
    return "\n".join([str(len(rows)), molecule.formula, *rows])


def setup(record: Record) -> Section | None:
    """Say with what settings a run computes.

    Args:
        record: of the run.

    Returns:
        The section; None where the settings are not known.
    """
    config = record.config
    if not config:
        return None
    groups = [(name, _group(config[name])) for name in ("ansatz", *PARTS) if isinstance(config.get(name), Mapping)]
    scalars = [(name, _value(config[name])) for name in SCALARS if config.get(name) not in (None, [])]
    return Section("Settings", [Facts([(_words(name), text) for name, text in [*groups, *scalars]])])


def _group(settings: Mapping[str, Any]) -> str:
    """Name a part, and say its settings in brackets."""
    plain = {name: value for name, value in settings.items() if not name.startswith("_") and value is not None}
    inside = ", ".join(f"{_words(name)} {_value(value)}" for name, value in plain.items())
    return f"{settings.get('_target_', '')} ({inside})" if inside else str(settings.get("_target_", ""))


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _group(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _words(name: object) -> str:
    return str(name).replace("_", " ")
