"""Conversion factors between user units and atomic units (CODATA 2022).

References:
    Mohr, Newell, Taylor, Tiesinga, Rev. Mod. Phys. 97, 025002 (2025), doi:10.1103/RevModPhys.97.025002.
"""

from typing import TypeVar

from torch import Tensor

BOHR_PER_ANGSTROM = 1.0 / 0.529177210544
"""The bohr radius is 0.529177210544(82) angstrom."""

EV_PER_HARTREE = 27.211386245981
"""One hartree in electronvolt, 27.211386245981(30)."""

WAVENUMBERS_PER_HARTREE = 219474.63136314
"""One hartree divided by h c, 219474.63136314(24) cm^-1."""

DEBYE_PER_E_BOHR = 2.541746473
"""One atomic unit of the electric dipole moment, 8.4783536198(13)e-30 C m, in debye."""

BOHR_PER_UNIT = {"bohr": 1.0, "angstrom": BOHR_PER_ANGSTROM}
"""Length units that a user may name."""

Lengths = TypeVar("Lengths", float, Tensor)


def to_bohr(values: Lengths, units: str) -> Lengths:
    """Convert lengths to bohr.

    Args:
        values: length or tensor of lengths of any shape, in `units`.
        units: `bohr` or `angstrom`.

    Returns:
        The same lengths in bohr.

    Raises:
        ValueError: `units` is not a known length unit.
    """
    if units not in BOHR_PER_UNIT:
        raise ValueError(f"units={units!r} is not a length unit: choose one of {', '.join(BOHR_PER_UNIT)}")
    return values * BOHR_PER_UNIT[units]
