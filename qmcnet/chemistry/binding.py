"""Whether Hartree-Fock lets an anion hold its last electron."""

import logging
from dataclasses import replace

from qmcnet.chemistry.scf import HartreeFockResult, hartree_fock
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


def say_unbound_orbitals(molecule: Molecule, mean_field: HartreeFockResult) -> None:
    """Log when Hartree-Fock puts an anion above the same nuclei with one electron less.

    Args:
        molecule: any molecule; nothing is said of one without a negative charge.
        mean_field: its Hartree-Fock solution.
    """
    parents = ionised(molecule, molecule.charge + 1, (molecule.spin - 1, molecule.spin + 1))
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


def ionised(molecule: Molecule, charge: int, spins: tuple[int, ...]) -> list[Molecule]:
    """List the same nuclei with fewer electrons.

    Args:
        molecule: any molecule.
        charge: a larger charge.
        spins: numbers of unpaired electrons to try.

    Returns:
        A molecule of each of the spins that is possible; none of a cation.
    """
    n = molecule.n_electrons + molecule.charge - charge
    if not molecule.charge < charge <= 0 or n < 1:
        return []
    return [replace(molecule, charge=charge, spin=s) for s in spins if 0 <= s <= n and not (n - s) % 2]
