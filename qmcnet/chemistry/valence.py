"""The active space of all valence electrons in all valence orbitals.

References:
    Ruedenberg, Schmidt, Gilbert, Elbert, Chem. Phys. 71, 41 (1982), doi:10.1016/0301-0104(82)87004-3 (full optimised
    reaction space).
"""

from math import comb

from qmcnet.system.elements import atomic_number
from qmcnet.system.molecule import Molecule

_ROWS = ((2, 1, 0), (10, 4, 1), (18, 4, 5))  # last element of a row, its valence orbitals, its core orbitals
_MOST_DETERMINANTS = 100_000  # ozone has half as many, and takes eight seconds of one core


def valence_space(molecule: Molecule) -> tuple[int, int] | None:
    """Count valence electrons and valence orbitals.

    Args:
        molecule: nuclei and electrons.

    Returns:
        Electrons and orbitals of the active space; None beyond argon, where it has a single determinant or none, and
        where it has more than a hundred thousand.
    """
    rows = [next((row for row in _ROWS if atomic_number(symbol) <= row[0]), None) for symbol in molecule.symbols]
    if None in rows:
        return None
    n_orbitals, n_core = (sum(row[k] for row in rows if row) for k in (1, 2))
    n_core -= sum(molecule.cores) // 2
    up, down = molecule.n_up - n_core, molecule.n_down - n_core
    n_determinants = comb(n_orbitals, up) * comb(n_orbitals, down) if down >= 0 else 0  # none of more than fit
    return (up + down, n_orbitals) if 1 < n_determinants <= _MOST_DETERMINANTS else None
