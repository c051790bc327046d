"""Masses of nuclei."""

from qmcnet.system.elements import atomic_number


def isotope_mass(symbol: str) -> float:
    """Look up the mass of an atom of the commonest isotope of an element, in atomic mass units."""
    from pyscf.data.elements import COMMON_ISOTOPE_MASSES  # takes a second to import

    return float(COMMON_ISOTOPE_MASSES[atomic_number(symbol)])
