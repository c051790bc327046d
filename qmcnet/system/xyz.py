"""Plain and extended xyz files with one frame, with errors that name file and line.

References:
    https://github.com/libAtoms/extxyz (extended xyz).
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from qmcnet.system.elements import SYMBOLS, atomic_number
from qmcnet.system.files import read_lines
from qmcnet.system.geometries import Geometry, shown, statements, whole_sum
from qmcnet.system.geometry import MOST_ATOMS, Atom

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:(?:[eEdD]|\*\^)[+-]?\d{1,4})?", re.ASCII)
_LABEL = re.compile(r"([A-Za-z]{1,2})(?:[\d_@*'.:+-].*)?", re.ASCII)
_GHOST = re.compile(r"(?i)gh(ost)?\W.*|gh|ghost|x|xx|bq.*|@.*|du|dummy")
_ISOTOPES = {"D": "H", "T": "H"}
_PROPERTY = re.compile(r"(\w+):([SRILsril]):([1-9]\d?)", re.ASCII)


class _Columns(NamedTuple):
    """Where a row holds what, counted from 0, and how many columns it has at least."""

    symbol: int = 0
    position: int = 1
    charge: int | None = None
    moment: int | None = None
    width: int = 4


def read_xyz(path: str | Path) -> Geometry:
    """Read an xyz file with one frame.

    Blank lines before the number of atoms, text behind it, labels such as `O1` and `H_a`, atomic numbers for symbols,
    exponents written `D` or `*^`, further columns, and lines behind the atoms that are no atoms are accepted.

    Args:
        path: file with the number of atoms, a comment, and rows `symbol x y z`; a comment with `Properties=` says
            which columns hold what.

    Returns:
        The atoms, and what the comment says of charge, spin and units.

    Raises:
        ValueError: the file cannot be read, is malformed, periodic, or has a ghost atom.
    """
    lines = read_lines(path)
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    count, *behind = lines[start].split(maxsplit=1) or [""]
    if not (count.isascii() and count.isdigit() and 0 < len(count) < 10 and int(count)):
        raise ValueError(
            f"{shown(path, start + 1)}: {lines[start].strip()[:60]!r} is not a number of atoms: "
            "write a positive integer"
        )
    if int(count) > MOST_ATOMS:
        raise ValueError(f"{shown(path, start + 1)}: {count} atoms are too many: at most {MOST_ATOMS} are possible")
    comment = lines[start + 1] if len(lines) > start + 1 else ""
    where = shown(path, start + 2)
    columns = _columns(comment, where)
    first = start + 2
    rows = lines[first : first + int(count)]
    _check_count(path, count, start + 1, lines, first, columns)
    atoms = [_atom(row, shown(path, number), columns) for number, row in enumerate(rows, start=first + 1)]
    if columns == _Columns():
        _refuse_numbers_before_positions(rows, shown(path, first + 1))
    text = re.sub(r"(?i)\b(?:properties|lattice|pbc)=(?:\"[^\"]*\"|\S*)", "", comment)
    stated = statements(text if text.strip() or not behind else behind[0], where)
    return Geometry(atoms, where, **_with_columns(stated, rows, columns, where))


def _columns(comment: str, where: str) -> _Columns:
    values = {
        name.lower(): quoted or plain
        for name, quoted, plain in re.findall(
            r"(?i)\b(properties|lattice|pbc)\s*=\s*(?:[\"'{]([^\"'}]*)[\"'}]|(\S+))", comment
        )
    }
    periodic = set(values.get("pbc", "T" if "lattice" in values else "F").replace(",", " ").split())
    if not {word.lower() for word in periodic} <= {"f", "false", "0"}:
        raise ValueError(f'{where}: Lattice= or pbc= make it periodic: only molecules are supported, set pbc="F F F"')
    if "properties" not in values:
        return _Columns()
    found, width = dict[str, tuple[int, int]](), 0
    text = values["properties"]
    if not re.fullmatch(rf"{_PROPERTY.pattern}(?::{_PROPERTY.pattern})*", text, re.ASCII):
        raise ValueError(f"{where}: Properties={text} cannot be read: write species:S:1:pos:R:3")
    for name, _, n in _PROPERTY.findall(text):
        found[name.lower()] = width, int(n)
        width += int(n)
    symbol = found.get("species") or found.get("element") or found.get("z")
    position = found.get("pos") or found.get("positions")
    if symbol is None or symbol[1] != 1 or position is None or position[1] != 3:
        raise ValueError(f"{where}: Properties={text} needs species:S:1 (or Z:I:1) and pos:R:3")
    single = {name: start for name, (start, n) in found.items() if n == 1}
    if "initial_magmoms" in found and "initial_magmoms" not in single:
        raise ValueError(f"{where}: magnetic moments of the atoms are vectors: remove them, and give spin")
    return _Columns(symbol[0], position[0], single.get("initial_charges"), single.get("initial_magmoms"), width)


def _check_count(path: str | Path, count: str, line: int, lines: list[str], first: int, columns: _Columns) -> None:
    """Refuse fewer rows than counted, and an atom behind them."""
    filled = [i for i, row in enumerate(lines[first:], start=first) if row.strip()]
    last = first + int(count)
    if not filled or filled[-1] < last - 1:
        n = filled[-1] + 1 - first if filled else 0
        raise ValueError(f"{shown(path, line)} says {count} atoms and {n} lines follow the comment: correct the count")
    for i in filled:
        if i >= last and _is_atom(lines[i], columns):
            raise ValueError(
                f"{shown(path, line)} says {count} atoms and {shown(path, i + 1)} holds another, "
                f"{lines[i].strip()[:60]!r}: correct the count, or keep a single frame"
            )


def _is_atom(row: str, columns: _Columns) -> bool:
    try:
        _atom(row, "", columns)
    except ValueError:
        return False
    return True


def _atom(row: str, where: str, columns: _Columns) -> Atom:
    fields = row.split()
    numbers = [_number(field) for field in fields[columns.position : columns.position + 3]]
    if len(fields) < columns.width or len(numbers) < 3 or None in numbers:
        expected = "symbol x y z" if columns == _Columns() else f"the {columns.width} columns of Properties="
        raise ValueError(f"{where}: {row.strip()[:60]!r} is not an atom: write {expected}")
    x, y, z = (math.nan if number is None else number for number in numbers)
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"{where}: {row.strip()[:60]!r} is not finite: write three finite numbers")
    return _symbol(fields[columns.symbol], where), x, y, z


def _number(field: str) -> float | None:
    if re.fullmatch(r"(?i)[+-]?(?:nan|inf|infinity)", field):
        return math.nan
    return float(re.sub(r"[dD]|\*\^", "e", field)) if _NUMBER.fullmatch(field) else None


def _symbol(label: str, where: str) -> str:
    if label.isascii() and label.isdigit():
        if not (len(label) < 4 and 1 <= int(label) <= len(SYMBOLS)):
            raise ValueError(f"{where}: atomic number {label[:20]} is not supported: allowed are 1..{len(SYMBOLS)}")
        return SYMBOLS[int(label) - 1]
    if _GHOST.fullmatch(label):
        raise ValueError(f"{where}: {label[:20]} is a ghost or dummy atom without electrons: remove the line")
    name = match[1] if (match := _LABEL.fullmatch(label)) else label
    name = _ISOTOPES.get(name, name)
    try:
        return SYMBOLS[atomic_number(name) - 1]
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _refuse_numbers_before_positions(rows: list[str], where: str) -> None:
    """Refuse rows `symbol Z x y z`, whose Z would be taken for x."""
    fields = [row.split() for row in rows]
    if all(len(row) >= 5 and row[1].isdigit() for row in fields) and all(
        SYMBOLS[int(row[1]) - 1 : int(row[1])] == (_symbol(row[0], where),) for row in fields
    ):
        raise ValueError(f"{where}: the second column holds atomic numbers: write symbol x y z")


def _with_columns(stated: dict[str, Any], rows: list[str], columns: _Columns, where: str) -> dict[str, Any]:
    """Add the sums of the columns of charges and of magnetic moments."""
    for name, column, what in (
        ("charge", columns.charge, "charges"),
        ("spin", columns.moment, "magnetic moments"),
    ):
        if column is None:
            continue
        values = [_number(row.split()[column]) for row in rows]
        total = whole_sum([math.nan if value is None else value for value in values], what, name)
        if total is not None:
            total = abs(total) if name == "spin" else total
            if stated[name] not in (None, total):
                raise ValueError(f"{where} says {name}={stated[name]}, and the {what} of the atoms add up to {total}")
            stated[name] = total
    return stated
