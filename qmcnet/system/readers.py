"""Molecules from files of any format that ASE knows."""

import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmcnet.system.files import checked_file, read_lines
from qmcnet.system.geometries import Geometry, logger, spin_of
from qmcnet.system.objects import ase_geometry
from qmcnet.system.xyz import read_xyz

_XYZ = ("xyz", "extxyz")
_CHARGE, _MULTIPLICITY = r"(?P<charge>[+-]?\d+)", r"(?P<multiplicity>\d+)"
_STATEMENTS = {
    "gaussian-in": (rf"(?m)^\s*{_CHARGE}[\s,]+{_MULTIPLICITY}\s*$",),
    "gaussian-out": (rf"Charge\s*=\s*{_CHARGE}\s+Multiplicity\s*=\s*{_MULTIPLICITY}",),
    "orca-output": (rf"Total Charge\s+Charge\s+\.+\s+{_CHARGE}", rf"Multiplicity\s+Mult\s+\.+\s+{_MULTIPLICITY}"),
    "nwchem-in": (rf"(?mi)^\s*charge\s+{_CHARGE}", rf"(?mi)^\s*mult\s+{_MULTIPLICITY}"),
    "nwchem-out": (rf"(?m)^\s*Charge\s*:\s*{_CHARGE}", rf"(?m)^\s*Spin multiplicity\s*:\s*{_MULTIPLICITY}"),
}


def read_file(path: str | Path) -> Geometry:
    """Read one molecule from a file of any format that ASE knows.

    Charge and spin come from what the file states where they are known to be found: initial charges and moments of
    extended formats, and the input and output of Gaussian, ORCA, NWChem and MDL mol and sdf files.

    Args:
        path: the file; the format is found from its name and content. Compressed files are read too.

    Returns:
        The atoms in angstrom, or those of an xyz file.

    Raises:
        ValueError: the file cannot be read, is of no known format, holds no molecule or several, or is periodic.
    """
    file = checked_file(path)
    if file.suffix.lower().lstrip(".") in _XYZ:
        return read_xyz(file)
    kind, frames = _frames(file)
    if kind in _XYZ:
        return read_xyz(file)
    if len(frames) != 1:
        raise ValueError(f"path={str(path)!r} ({kind}) holds {len(frames)} geometries: write the one meant to a file")
    geometry = ase_geometry(frames[0], str(path))
    if not geometry.atoms:
        raise ValueError(f"path={str(path)!r} ({kind}) holds no atoms")
    stated = _stated(kind, file)
    if geometry.charge is None and geometry.spin is None and not stated:
        logger.info("%s (%s) is not read for charge and spin", path, kind)
    return replace(geometry, **stated)


def _frames(file: Path) -> tuple[str, list[Any]]:
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError, filetype

    name = str(file.resolve())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind = filetype(name)
            return kind, list(read(name, index=":", format=kind, do_not_split_by_at_sign=True))
    except UnknownFileTypeError:
        raise ValueError(f"path={str(file)!r} is of no format that ASE knows: give an xyz file") from None
    except Exception as error:  # readers of a hundred formats raise whatever a malformed file leads them to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"path={str(file)!r} cannot be read by ASE: {reason}") from None


def _stated(kind: str, file: Path) -> dict[str, Any]:
    """Charge and spin that ASE does not pass on."""
    if kind in ("mol", "sdf"):
        return _of_mol_file(file)
    if kind not in _STATEMENTS:
        return {}
    text, found = "\n".join(read_lines(file)), dict[str, int]()
    for pattern in _STATEMENTS[kind]:
        if match := re.search(pattern, text):
            found |= {name: int(value) for name, value in match.groupdict().items()}
    spin = spin_of(None, found.pop("multiplicity", None), str(file))
    return found | ({} if spin is None else {"spin": spin})


def _of_mol_file(file: Path) -> dict[str, Any]:
    """Sum of the charges in the lines `M  CHG n atom charge atom charge ...`; radicals have to be told."""
    lines = read_lines(file)
    if any(line.startswith("M  RAD") for line in lines):
        raise ValueError(
            f"{file} states radicals (M  RAD), whose spin is not read: write an xyz file with multiplicity="
        )
    charged = [line.split()[4::2] for line in lines if line.startswith("M  CHG")]
    return {"charge": sum(int(value) for row in charged for value in row)} if charged else {}
