"""Bond lengths and angles of a geometry."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qmcnet.system.elements import atomic_number
from qmcnet.system.units import BOHR_PER_ANGSTROM

Array = NDArray[np.float64]

LONGEST = 1.3
"""A bond, in sums of covalent radii."""


def bonds(symbols: Sequence[str], nuclei: Array) -> list[tuple[int, int]]:
    """List pairs of atoms that are near enough for a bond, and each atom with its nearest.

    Args:
        symbols: element symbols, (A,).
        nuclei: positions, shape (A, 3), in bohr.

    Returns:
        Numbers of the atoms, from 0, of each bond.
    """
    from ase.data import covalent_radii

    radii = BOHR_PER_ANGSTROM * covalent_radii[[atomic_number(symbol) for symbol in symbols]]
    distances = np.linalg.norm(nuclei[:, None] - nuclei, axis=-1) + np.diag(np.full(len(nuclei), np.inf))
    near = distances < LONGEST * (radii[:, None] + radii)
    near[np.arange(len(nuclei)), distances.argmin(1)] = True
    return [(i, j) for i, j in combinations(range(len(nuclei)), 2) if near[i, j] or near[j, i]]


def angles(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """List bonds that share an atom.

    Args:
        pairs: atoms of the bonds.

    Returns:
        Numbers of three atoms, the shared one in the middle.
    """
    partners: dict[int, list[int]] = {}
    for i, j in pairs:
        partners.setdefault(i, []).append(j)
        partners.setdefault(j, []).append(i)
    return [(a, b, c) for b, others in sorted(partners.items()) for a, c in combinations(sorted(others), 2)]


def length(nuclei: Array, i: int, j: int) -> float:
    """Measure the distance of two atoms, in bohr."""
    return float(np.linalg.norm(nuclei[i] - nuclei[j]))


def angle(nuclei: Array, i: int, j: int, k: int) -> float:
    """Measure the angle at atom j, in degrees."""
    first, second = nuclei[i] - nuclei[j], nuclei[k] - nuclei[j]
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second)))
