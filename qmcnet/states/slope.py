"""How large the energies are by which what a wavefunction lacks is excited.

What networks lack after a training sits near nuclei and among the electrons of their shells: of the atoms of the first
row, the distance to the exact energy times the energy of the atom is about the variance. Of hydrogen it is the valence,
which is excited by some hartree. See `benchmarks/README.md`.
"""

from qmcnet.statistics.zero_variance import Slope, expected
from qmcnet.system.elements import atomic_number, shells
from qmcnet.system.molecule import Molecule

_FACTOR, _POWER = 0.5, 2.4
"""Energies of atoms are about -Z^2.4 / 2 hartree, within 7 % up to argon but for helium."""
_VALENCE = 2.0
"""Hartree."""


def slope_of(molecule: Molecule) -> Slope:
    """Tell what is known of the line of energies against variances of a molecule before a run.

    Args:
        molecule: the system.

    Returns:
        The slope; its scale is the mean of the energies of the atoms, each in proportion to its own, and the valence.
    """
    atoms = zip(map(atomic_number, molecule.symbols), molecule.cores, strict=True)
    energies = [_energy(number, n_core) for number, n_core in atoms]
    return expected(_VALENCE + sum(energy**2 for energy in energies) / sum(energies))


def _energy(number: int, n_core: int) -> float:
    """Energy of an atom in hartree; with a core potential that of the electrons left, by Slater's exponents."""
    if not n_core:
        return _FACTOR * float(number) ** _POWER
    return sum(shell.electrons * shell.zeta**2 / 2 for shell in shells(number, n_core))
