"""The lowest unrestricted Hartree-Fock solution that can be found: stable, and not above separate atoms.

The equations have many solutions. An iteration that starts from closed shells often ends at one that is a saddle, or,
with stretched bonds, at a minimum far above the atoms that the molecule is made of.

References:
    Seeger and Pople, J. Chem. Phys. 66, 3045 (1977), doi:10.1063/1.434318 (stability).
"""

import itertools
import logging
from typing import Any

import numpy as np

from qmcnet.system.elements import atomic_number, ground_state_spin

logger = logging.getLogger(__name__)

_ENERGY_TOLERANCE = 1e-6  # hartree; what is closer is the same solution
_MOST_INSTABILITIES = 10
_NEWTON_CYCLES = 50
_LONGEST_BOND = 1.4  # in sums of covalent radii
_MOST_SPINS = 14  # atoms with unpaired electrons whose spins are tried in all combinations; others follow them


def iterate(mean_field: Any, density: Any = None) -> Any:
    """Iterate to self-consistency: DIIS first, and the second-order solver where it fails.

    Args:
        mean_field: Hartree-Fock object of PySCF.
        density: density matrix to start from; None for PySCF's guess.

    Returns:
        Mean field of PySCF, converged or not.
    """
    mean_field.kernel(dm0=density)
    return mean_field if mean_field.converged else _second_order(mean_field, mean_field.mo_coeff)


def lowest_solution(mean_field: Any) -> Any:
    """Search for the lowest solution.

    Every instability is followed to the solution below it, at most ten times. A molecule in pieces, with atoms or
    groups further than 1.4 sums of covalent radii from the rest, is also started from its atoms with antiparallel
    spins, and the lower of the two solutions is taken.

    Args:
        mean_field: UHF object of PySCF.

    Returns:
        Mean field of PySCF, converged or not.
    """
    found = _follow_instabilities(mean_field, iterate(mean_field))
    if not _in_pieces(mean_field.mol):
        return found
    again = mean_field.copy()
    other = _follow_instabilities(again, iterate(again, antiparallel_atoms(mean_field)))
    if other.e_tot > found.e_tot - _ENERGY_TOLERANCE:
        return found
    logger.info(
        "UHF from atoms with antiparallel spins is %.6f hartree below that from PySCF's guess",
        found.e_tot - other.e_tot,
    )
    return other


def _second_order(mean_field: Any, mo_coeff: Any) -> Any:
    solver = mean_field.newton()
    solver.max_cycle = _NEWTON_CYCLES
    solver.kernel(mo_coeff, mean_field.mo_occ)
    return solver


def _follow_instabilities(mean_field: Any, solution: Any) -> Any:
    """Step down from saddles, each time by a new solver made from `mean_field`, until a solution is stable."""
    from pyscf.scf.stability import uhf_internal

    if not any(
        0 < n < coefficients.shape[1] for n, coefficients in zip(mean_field.mol.nelec, solution.mo_coeff, strict=True)
    ):
        return solution
    energies = [float(solution.e_tot)]
    while len(energies) <= _MOST_INSTABILITIES:
        rotated, stable = uhf_internal(solution, with_symmetry=False, return_status=True)
        if stable:
            break
        lower = _second_order(mean_field, rotated)
        if lower.e_tot > energies[-1] - _ENERGY_TOLERANCE:
            break  # a rotation that costs nothing, such as that of an open shell in space
        solution = lower
        energies.append(float(lower.e_tot))
    else:
        logger.warning("UHF may still be unstable after %d instabilities", _MOST_INSTABILITIES)
    if len(energies) > 1:
        what = "an instability" if len(energies) == 2 else f"{len(energies) - 1} instabilities in a row"
        logger.info("UHF followed %s, %.6f hartree down", what, energies[0] - energies[-1])
    return solution


def antiparallel_atoms(mean_field: Any) -> Any:
    """Put together the densities of separate atoms, the spins of neighbours antiparallel.

    Args:
        mean_field: UHF of PySCF, whose molecule and settings are taken.

    Returns:
        Density matrices of both spins, shape (2, n_ao, n_ao).
    """
    mol = mean_field.mol
    spins = [ground_state_spin(atomic_number(mol.atom_pure_symbol(i))) for i in range(mol.natm)]
    densities, total = dict[str, Any](), np.zeros((2, mol.nao, mol.nao))
    for i, sign in enumerate(_signs(np.array(spins), mol.atom_coords(), mol.spin)):
        symbol = mol.atom_pure_symbol(i)
        if symbol not in densities:
            densities[symbol] = _atom(mean_field, symbol, spins[i])
        first, last = mol.aoslice_by_atom()[i, 2:]
        total[:, first:last, first:last] = densities[symbol][::sign]
    return total


def _atom(mean_field: Any, symbol: str, spin: int) -> Any:
    from pyscf import gto, scf

    own = {"basis": mean_field.mol.basis, "ecp": mean_field.mol.ecp}
    mol = gto.Mole(atom=[(symbol, (0.0, 0.0, 0.0))], spin=spin, verbose=0, **own)
    atom = scf.uhf.UHF(mol.build(dump_input=False, parse_arg=False))
    atom.conv_tol, atom.max_cycle, atom.chkfile = mean_field.conv_tol, mean_field.max_cycle, None
    return iterate(atom).make_rdm1()


def _signs(spins: Any, coordinates: Any, total: int) -> list[int]:
    """Orient spins so that their sum is close to the total and neighbours are antiparallel."""
    all_open = np.flatnonzero(spins)
    open_shells, more = all_open[:_MOST_SPINS], all_open[_MOST_SPINS:]
    distances = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1)
    all_couplings = np.outer(spins, spins) / (distances + np.eye(len(spins)))
    couplings = all_couplings[np.ix_(open_shells, open_shells)]
    choices = np.array(list(itertools.product((1, -1), repeat=len(open_shells))), dtype=int)
    excess = np.abs(choices @ spins[open_shells] - total)
    energies = np.einsum("ci,ij,cj->c", choices, np.triu(couplings, 1), choices)
    signs = (spins == 0).astype(int)
    signs[open_shells] = choices[np.lexsort((energies, excess))[0]]
    for i in more:  # one after the other
        left, field = total - signs[all_open] @ spins[all_open], all_couplings[i, all_open] @ signs[all_open]
        signs[i] = min((1, -1), key=lambda sign: (abs(left - sign * spins[i]), round(sign * field, 9)))
    return signs.tolist()


def _in_pieces(mol: Any) -> bool:
    """Whether atoms or groups of atoms are not bonded to the rest."""
    from pyscf.data.radii import COVALENT

    radii = COVALENT[[atomic_number(mol.atom_pure_symbol(i)) for i in range(mol.natm)]]
    coordinates = mol.atom_coords()
    distances = np.linalg.norm(coordinates[:, None] - coordinates, axis=-1)
    bonded = distances < _LONGEST_BOND * (radii[:, None] + radii)
    reached = bonded[0]
    for _ in range(mol.natm):
        reached = bonded[reached].any(0)
    return not reached.all()
