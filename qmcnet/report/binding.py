"""Whether the energy of an anion says that it gains by losing its last electron."""

import logging

from qmcnet.chemistry.binding import ionised
from qmcnet.report.reference import Reference, lookup
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


def say_unbound_electron(molecule: Molecule, energy: float | None, standard_error: float | None) -> None:
    """Log when an energy of an anion lies above the known energy of the same nuclei with fewer electrons.

    Args:
        molecule: any molecule; nothing is said of one without a negative charge.
        energy: its energy, hartree; None where it is not known.
        standard_error: error of the energy, hartree.
    """
    if energy is None or standard_error is None:
        return
    for charge in range(molecule.charge + 1, 1):
        parents = ionised(molecule, charge, tuple(range(8)))
        known = [(found.energy, parent, found) for parent in parents if (found := lookup(parent))]
        if known and energy - 2 * standard_error > (lowest := min(known, key=lambda row: row[0]))[0]:
            logger.warning(_sentence(molecule, energy, lowest[1], lowest[2]))
            return


def _sentence(molecule: Molecule, energy: float, parent: Molecule, known: Reference) -> str:
    return (
        f"{molecule.formula}: {energy:.6f} hartree is above the {known.energy:.6f} hartree of {parent.formula} "
        f"({known.source}): an electron is not bound, and what was computed is no state of {molecule.formula}"
    )
