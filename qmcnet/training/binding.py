"""Whether an anion holds its last electron, or gains by losing it."""

import logging
from dataclasses import replace

from qmcnet.molecule import Molecule
from qmcnet.observables.reference import Reference, lookup
from qmcnet.scf import HartreeFockResult, hartree_fock

logger = logging.getLogger(__name__)


def say_unbound_orbitals(molecule: Molecule, mean_field: HartreeFockResult) -> None:
    """Log when Hartree-Fock puts an anion above the same nuclei with one electron less.

    Args:
        molecule: any molecule; nothing is said of one without a negative charge.
        mean_field: its Hartree-Fock solution.
    """
    parents = _ionised(molecule, molecule.charge + 1, (molecule.spin - 1, molecule.spin + 1))
    if not parents:
        return
    parent = min((hartree_fock(m, mean_field.basis, mean_field.method) for m in parents), key=lambda r: r.energy)
    if mean_field.energy > parent.energy:
        logger.warning(
            "%s: %s puts it %.4f hartree above %s, at %.6f hartree: only correlation can bind its last electron",
            molecule.formula,
            mean_field.method.upper(),
            mean_field.energy - parent.energy,
            parents[0].formula,
            parent.energy,
        )


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
        parents = _ionised(molecule, charge, tuple(range(8)))
        known = [(found.energy, parent, found) for parent in parents if (found := lookup(parent))]
        if known and energy - 2 * standard_error > (lowest := min(known, key=lambda row: row[0]))[0]:
            logger.warning(_sentence(molecule, energy, lowest[1], lowest[2]))
            return


def _ionised(molecule: Molecule, charge: int, spins: tuple[int, ...]) -> list[Molecule]:
    """The same nuclei with a larger charge, at most neutral, and with each of the spins that is possible."""
    n = molecule.n_electrons + molecule.charge - charge
    if not molecule.charge < charge <= 0 or n < 1:
        return []
    return [replace(molecule, charge=charge, spin=s) for s in spins if 0 <= s <= n and not (n - s) % 2]


def _sentence(molecule: Molecule, energy: float, parent: Molecule, known: Reference) -> str:
    return (
        f"{molecule.formula}: {energy:.6f} hartree is above the {known.energy:.6f} hartree of {parent.formula} "
        f"({known.source}): an electron is not bound, and what was computed is no state of {molecule.formula}"
    )
