"""Nuclear geometries: validated lengths and positions, and reading of xyz files."""

import math
from collections.abc import Sequence
from pathlib import Path

from qmcnet.elements import SYMBOLS
from qmcnet.units import to_bohr

Position = tuple[float, float, float]
Atom = tuple[str, float, float, float]

_CLOSEST_NUCLEI = 0.05


def length_in_bohr(name: str, value: float, units: str) -> float:
    """Check and convert a length.

    Args:
        name: name of the length in messages.
        value: the length, in `units`.
        units: `bohr` or `angstrom`.

    Returns:
        The length in bohr.

    Raises:
        ValueError: the length is not a positive finite number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} is not a length: write a positive number in {units}")
    return to_bohr(float(value), units)


def checked_position(row: Sequence[float], number: int) -> Position:
    """Check the position of an atom.

    Args:
        row: x, y, z in any unit.
        number: number of the atom in messages.

    Returns:
        x, y, z in the same unit.

    Raises:
        ValueError: the row is not three finite numbers.
    """
    try:
        x, y, z = (float(value) for value in row)
    except (TypeError, ValueError):
        raise ValueError(f"atom {number}: coordinates {row!r} are not three numbers") from None
    if not all(map(math.isfinite, (x, y, z))):
        raise ValueError(f"atom {number}: coordinates {(x, y, z)} are not finite: write three finite numbers")
    return x, y, z


def check_nuclei(symbols: Sequence[str], coordinates: Sequence[Position]) -> None:
    """Refuse missing positions and two nuclei at the same place.

    Args:
        symbols: element symbols, (A,).
        coordinates: nuclear positions, (A, 3), bohr.

    Raises:
        ValueError: there is no nucleus, one without a position, or two less than 0.05 bohr apart.
    """
    if not symbols or len(symbols) != len(coordinates):
        raise ValueError(
            f"{len(symbols)} symbols and {len(coordinates)} coordinates: give one position to each of at least one atom"
        )
    for i, here in enumerate(coordinates):
        for j, there in enumerate(coordinates[:i]):
            if (distance := math.dist(here, there)) < _CLOSEST_NUCLEI:
                raise ValueError(
                    f"atoms {j + 1} ({symbols[j]}) and {i + 1} ({symbols[i]}) are {distance:.4g} bohr apart, "
                    f"at {there} and {here} bohr: move or remove one"
                )


def read_xyz(path: str | Path) -> list[Atom]:
    """Read the atoms of an xyz file with one frame.

    Args:
        path: file with the number of atoms, a comment, and rows `symbol x y z`; atomic numbers are accepted
            for symbols, further columns and trailing blank lines are ignored.

    Returns:
        Symbol, x, y, z of each atom, in the unit of the file.

    Raises:
        ValueError: the file cannot be read or is malformed.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    except OSError as error:
        raise ValueError(f"path={str(path)!r} cannot be read: {error.strerror}") from error
    count = lines[0].strip() if lines else ""
    if not (count.isascii() and count.isdigit() and int(count)):
        raise ValueError(f"{path}, line 1: {count!r} is not a number of atoms: write a positive integer")
    rows = lines[2:]
    if len(rows) != int(count):
        raise ValueError(
            f"{path}: line 1 says {count} atoms and {len(rows)} lines follow the comment: "
            "correct the count, or keep a single frame"
        )
    return [_atom(row, f"{path}, line {number}") for number, row in enumerate(rows, start=3)]


def congruent(first: Sequence[Atom], second: Sequence[Atom], tolerance: float) -> bool:
    """Tell whether two sets of nuclei have one shape, wherever they lie and in whatever order they are listed.

    They have where some pairing of like nuclei gives every distance its partner. That fixes a geometry but for its
    mirror image, which has the same energy; sorted distances alone do not, since different sets can share them.

    Args:
        first: symbol, x, y, z of each nucleus.
        second: the same, in the same unit.
        tolerance: largest relative difference of two distances.

    Returns:
        Whether such a pairing exists.
    """

    def pairs_up(partners: tuple[int, ...]) -> bool:
        """Whether the nuclei after those that have partners can be given theirs."""
        if len(partners) == len(first):
            return True
        symbol, *here = first[len(partners)]
        return any(
            second[candidate][0] == symbol
            and candidate not in partners
            and all(
                math.isclose(
                    math.dist(here, atom[1:]), math.dist(second[candidate][1:], second[partner][1:]), rel_tol=tolerance
                )
                for atom, partner in zip(first, partners, strict=False)
            )
            and pairs_up((*partners, candidate))
            for candidate in range(len(second))
        )

    return len(first) == len(second) and pairs_up(())


def _atom(row: str, where: str) -> Atom:
    fields = row.split()
    try:
        symbol, x, y, z = fields[0], float(fields[1]), float(fields[2]), float(fields[3])
    except (ValueError, IndexError):
        raise ValueError(f"{where}: {row.strip()!r} is not an atom: write symbol x y z") from None
    if symbol.isascii() and symbol.isdigit():
        if not 1 <= int(symbol) <= len(SYMBOLS):
            raise ValueError(f"{where}: atomic number {symbol} is not supported: allowed are 1..{len(SYMBOLS)}")
        symbol = SYMBOLS[int(symbol) - 1]
    return symbol, x, y, z
