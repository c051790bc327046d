"""Nuclear geometries: validated lengths and positions."""

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from qmcnet.system.units import to_bohr

if TYPE_CHECKING:
    from qmcnet.system.molecule import Molecule

Position = tuple[float, float, float]
Atom = tuple[str, float, float, float]

MOST_ATOMS = 1000
"""More nuclei than anybody means."""

_CLOSEST_NUCLEI = 0.05
_FARTHEST = 1000.0  # bohr; float32 positions are exact to 1e-4 bohr up to there


def length_in_bohr(name: str, value: Any, units: str) -> float:
    """Check and convert a length.

    Args:
        name: name of the length in messages.
        value: the length, in `units`.
        units: `bohr` or `angstrom`.

    Returns:
        The length in bohr.

    Raises:
        ValueError: the length is not a positive number of at most 1000 bohr.
    """
    number = plain_number(value)
    if number is None or not 0 < number < math.inf:
        raise ValueError(f"{name}={value!r} is not a length: write a positive number in {units}")
    length = to_bohr(number, units)
    if length > _FARTHEST:
        raise ValueError(f"{name}={value!r} {units} is too far: at most {_FARTHEST:.0f} bohr are possible")
    return length


def plain_number(value: Any) -> float | None:
    """Turn a number of Python, NumPy or torch into a float.

    Args:
        value: anything.

    Returns:
        The number; None for what is not a single real number.
    """
    scalar = getattr(value, "shape", None) == () and hasattr(value, "item")
    plain = value.item() if scalar and not isinstance(value, np.bool_) else value
    return float(plain) if isinstance(plain, Real) and not isinstance(plain, bool | np.bool_) else None


def integer(name: str, value: Any) -> int:
    """Check a whole number.

    Args:
        name: name of the number in messages.
        value: of any integer type.

    Returns:
        The number as an `int`.

    Raises:
        ValueError: it is not an integer.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{name}={value!r} is not an integer: write a whole number such as 0 or 1")


def check_lists(**lists: Any) -> None:
    """Refuse what cannot be counted, and more atoms than anybody means.

    Args:
        **lists: what should hold one item for each atom, by its name in messages.

    Raises:
        ValueError: one is no list, or has more than 1000 items.
    """
    for name, items in lists.items():
        if not hasattr(items, "__len__") or getattr(items, "shape", None) == ():
            raise ValueError(f"{name}={items!r} is not a list with one item for each atom")
        check_number(f"number of {name}", len(items))


def check_number(name: str, n_atoms: int) -> None:
    """Refuse more atoms than anybody means.

    Args:
        name: name of the number in messages.
        n_atoms: number of atoms.

    Raises:
        ValueError: there are more than 1000.
    """
    if n_atoms > MOST_ATOMS:
        raise ValueError(f"{name}={n_atoms} is too large: at most {MOST_ATOMS} atoms are possible")


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
    """Refuse missing positions, two nuclei at the same place, and what is too far away.

    Args:
        symbols: element symbols, (A,).
        coordinates: nuclear positions, (A, 3), bohr.

    Raises:
        ValueError: there is no nucleus, one without a position, or too far from the origin, or two less than
            0.05 bohr apart.
    """
    if not symbols or len(symbols) != len(coordinates):
        raise ValueError(
            f"{len(symbols)} symbols and {len(coordinates)} coordinates: give one position to each of at least one atom"
        )
    for i, here in enumerate(coordinates):
        if max(map(abs, here)) > _FARTHEST:
            raise ValueError(
                f"atom {i + 1} ({symbols[i]}) is at {here} bohr: at most {_FARTHEST:.0f} bohr from the origin are "
                "possible, move the molecule there"
            )
        for j, there in enumerate(coordinates[:i]):
            if (distance := math.dist(here, there)) < _CLOSEST_NUCLEI:
                raise ValueError(
                    f"atoms {j + 1} ({symbols[j]}) and {i + 1} ({symbols[i]}) are {distance:.4g} bohr apart, "
                    f"at {there} and {here} bohr: move or remove one"
                )


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


def moved(molecule: "Molecule", nuclei: Any) -> "Molecule":
    """Put nuclei elsewhere.

    Args:
        molecule: the system.
        nuclei: positions, shape (A, 3), in bohr.

    Returns:
        The same electrons.
    """
    return replace(molecule, coordinates=tuple((float(x), float(y), float(z)) for x, y, z in nuclei))
