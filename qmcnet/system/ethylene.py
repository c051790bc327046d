"""Ethylene with one of its CH2 groups turned."""

import math
from collections.abc import Sequence
from typing import Any

from qmcnet.system.geometry import checked_position
from qmcnet.system.molecule import Molecule


def turned_ethylene(
    atoms: Sequence[Sequence[Any]], torsion: float, pyramidalization: float, units: str, charge: int = 0, spin: int = 0
) -> Molecule:
    """Turn the second CH2 group about the bond, then about an axis through its carbon normal to the first group.

    r -> c + R_y(phi) R_x(tau) (r - c)

    Args:
        atoms: rows `[symbol, x, y, z]` in `units`, with the carbons first and along x, then the hydrogens of the first
            CH2 group, which lies in the xz plane, then those of the second.
        torsion: tau, in degrees.
        pyramidalization: phi, in degrees.
        units: `bohr` or `angstrom`.
        charge: total charge.
        spin: n_up - n_down.

    Returns:
        The molecule.
    """
    tau, phi = math.radians(torsion), math.radians(pyramidalization)
    center = checked_position(atoms[1][1:], 2)
    turned = []
    for number, (symbol, *position) in enumerate(atoms[4:], start=5):
        x, y, z = (r - c for r, c in zip(checked_position(position, number), center, strict=True))
        y, z = y * math.cos(tau) - z * math.sin(tau), y * math.sin(tau) + z * math.cos(tau)
        x, z = x * math.cos(phi) - z * math.sin(phi), x * math.sin(phi) + z * math.cos(phi)
        turned.append([symbol, center[0] + x, center[1] + y, center[2] + z])
    return Molecule.from_atoms([*atoms[:4], *turned], units, charge, spin)
