"""Slater determinants that a network is fitted to before it is optimised, one or several for each state.

Letters: S states, K determinants.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from qmcnet.checks import one_of
from qmcnet.chemistry.binding import say_unbound_orbitals
from qmcnet.chemistry.casscf import CasscfResult, casscf, leading_of_roots
from qmcnet.chemistry.cis import cis_roots
from qmcnet.chemistry.determinants import Determinants
from qmcnet.chemistry.excitations import (
    Determinant,
    leading_determinants,
    occupied_orbitals,
    ordered_excitations,
    random_excitations,
)
from qmcnet.chemistry.scf import HartreeFockResult, basis_sets, hartree_fock
from qmcnet.chemistry.valence import valence_space
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)
EXCITATIONS = ("ordered", "random", "cis")

_BROKEN = 0.1  # <S^2> of a mean field without unpaired electrons from which it is taken for no singlet
_EXTRA_ROOTS = 4  # roots that may lead with a determinant that another one has taken
_SMALLEST_COEFFICIENT = 0.01  # of a determinant that is worth a share of the network


def mean_field_targets(
    molecule: Molecule, basis: str, method: str, n_states: int, excitations: str, seed: int, n_determinants: int
) -> Determinants:
    """Solve Hartree-Fock and choose a determinant for each state; for a ground state there may be better ones.

    Args:
        molecule: the system.
        basis: name of a Gaussian basis set.
        method: 'uhf', 'rohf', or 'auto', which takes the leading determinants of a CASSCF of the valence for a ground
            state where they lie below UHF, and else adds the determinant with spins exchanged to a broken symmetry.
        n_states: number of states S.
        excitations: 'ordered', 'random' or 'cis'.
        seed: of random excitations.
        n_determinants: determinants of the network for each state.

    Returns:
        The determinants; of a ground state as many as the network has, or two where UHF broke the symmetry of the
        spins, or one.
    """
    solved = "uhf" if method == "auto" else method
    mean_field = hartree_fock(molecule, basis, solved)
    named = f"{solved.upper()}/{basis_sets(molecule, basis)}"
    logger.info("%s energy %.6f hartree%s", named, mean_field.energy, _note(mean_field.converged))
    say_unbound_orbitals(molecule, mean_field)
    space = valence_space(molecule) if method == "auto" and n_states == 1 and n_determinants > 1 else None
    if space is not None:
        better = _valence_targets(molecule, basis, space, n_determinants, mean_field.energy)
        if better is not None:
            return better
    targets = excited_determinants(mean_field, n_states, excitations, seed)
    _log_leading(targets.determinants)
    if method != "auto" or molecule.spin or n_states > 1 or n_determinants % 2:
        return targets
    contamination = float(mean_field.solution.spin_square()[0])
    if contamination < _BROKEN:
        return targets
    logger.info("its <S^2> is %.2f: half of the determinants start with the spins exchanged", contamination)
    return with_exchanged_spins(mean_field)


def _valence_targets(
    molecule: Molecule, basis: str, space: tuple[int, int], n_determinants: int, below: float
) -> Determinants | None:
    """Solve CASSCF, and say nothing if it fails or its leading determinants do not lie below an energy in hartree."""
    try:
        ground = casscf(molecule, basis, *space, _SMALLEST_COEFFICIENT, n_determinants)
    except (ValueError, np.linalg.LinAlgError):  # the basis is too small, or no state of the right spin was found
        return None
    named = basis_sets(molecule, basis)
    return _leading_of(ground, named, space, n_determinants) if ground.energy_of_kept < below else None


def with_exchanged_spins(mean_field: HartreeFockResult) -> Determinants:
    """Add the determinant with spins exchanged to one that broke their symmetry.

    With stretched bonds, unrestricted Hartree-Fock puts a spin-up electron here and a spin-down one there, half a
    singlet and half a triplet; training would take as many steps as these two are close in energy to tell them apart.
    The sum of both determinants has even spins alone (Smeyers and Doreste-Suarez, Int. J. Quantum Chem. 7, 687 (1973),
    doi:10.1002/qua.560070406).

    Args:
        mean_field: of as many spin-up as spin-down electrons.

    Returns:
        Two determinants of one state.
    """
    both = torch.cat([mean_field.orbitals.up, mean_field.orbitals.down], -1)
    first, second = tuple(range(both.shape[-1] // 2)), tuple(range(both.shape[-1] // 2, both.shape[-1]))
    return Determinants(mean_field.orbitals.basis, both, both, [[(first, second), (second, first)]])


def casscf_targets(
    molecule: Molecule, basis: str, space: tuple[int, int], n_states: int, n_determinants: int
) -> Determinants:
    """Solve CASSCF and choose the determinants that lead its lowest roots.

    Args:
        molecule: the system.
        basis: name of a Gaussian basis set.
        space: electrons and orbitals of the active space.
        n_states: number of states S.
        n_determinants: determinants of the network for each state.

    Returns:
        The leading determinants of a ground state, one for each of the network; with excited states the leading
        determinant of each root.
    """
    if n_states == 1:
        ground = casscf(molecule, basis, *space, _SMALLEST_COEFFICIENT, n_determinants)
        return _leading_of(ground, basis_sets(molecule, basis), space, n_determinants)
    ground, leading = leading_of_roots(molecule, basis, *space, n_states)
    _log_casscf(ground, basis_sets(molecule, basis), space)
    _log_leading([[one] for one in leading])
    return Determinants(ground.basis, ground.orbitals, ground.orbitals, [[one] for one in leading])


def _leading_of(ground: CasscfResult, basis: str, space: tuple[int, int], n_determinants: int) -> Determinants:
    """Deal the leading determinants to those of the network until each has one, and share the coefficients out."""
    _log_casscf(ground, basis, space)
    known, weight = len(ground.coefficients), float(ground.coefficients.square().sum())
    logger.info(
        "its %d leading determinants, of %.4f of its norm and at %.6f hartree by themselves, are the targets",
        known,
        weight,
        ground.energy_of_kept,
    )
    dealt = torch.arange(n_determinants) % known
    spins = [tuple(map(tuple, spin[dealt].tolist())) for spin in (ground.up, ground.down)]
    determinants = [list(zip(*spins, strict=True))]
    _log_leading(determinants)
    coefficients = (ground.coefficients / dealt.bincount())[dealt]
    return Determinants(ground.basis, ground.orbitals, ground.orbitals, determinants, coefficients[None])


def _log_casscf(ground: CasscfResult, basis: str, space: tuple[int, int]) -> None:
    logger.info("CASSCF(%d,%d)/%s energy %.6f hartree%s", *space, basis, ground.energy, _note(ground.converged))


def _note(converged: bool) -> str:
    return "" if converged else " (not converged)"


def _log_leading(determinants: Sequence[Sequence[Determinant]]) -> None:
    """Say which determinant each state starts from, or which leads it."""
    for state, ((up, down), *_) in enumerate(determinants):
        logger.info("state %d starts from orbitals %s up, %s down", state, list(up), list(down))


def excited_determinants(mean_field: HartreeFockResult, n_states: int, kind: str, seed: int) -> Determinants:
    """Choose a Slater determinant for each state; the first is that of the mean field, and no two are equal.

    Args:
        mean_field: its orbitals, occupied and virtual.
        n_states: number of states S.
        kind: 'ordered' (lowest sums of orbital energies), 'random' (drawn from the lowest single and double
            excitations) or 'cis' (leading determinants of configuration interaction with single excitations).
        seed: of the random excitations.

    Returns:
        The orbitals of all states, float64 on the CPU.

    Raises:
        ValueError: `kind` is unknown, or the basis has too few orbitals for the states.
    """
    one_of(EXCITATIONS, excitations=kind)
    solution = mean_field.solution.to_uhf()
    ground = occupied_orbitals(solution.mo_occ)
    if kind == "cis":
        excited = leading_determinants(cis_roots(solution, n_states - 1 + _EXTRA_ROOTS), ground, n_states - 1)
    elif kind == "random":
        excited = random_excitations(solution.mo_energy, ground, n_states - 1, seed)
    else:
        excited = ordered_excitations(solution.mo_energy, ground, n_states - 1)
    if len(excited) < n_states - 1:
        raise ValueError(
            f"basis={mean_field.basis!r} gives {1 + len(excited)} determinants of excitations={kind!r} for "
            f"states={n_states}: choose a larger basis or fewer states"
        )
    up, down = (torch.tensor(coefficients) for coefficients in solution.mo_coeff)
    return Determinants(mean_field.orbitals.basis, up, down, [[one] for one in (ground, *excited)])
