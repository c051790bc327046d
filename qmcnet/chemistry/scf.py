"""Hartree-Fock orbitals of a molecule from PySCF.

PySCF is imported on first use: it is not needed to sample or train, and its import is slow.
"""

import logging
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qmcnet.chemistry.gto import GaussianBasis, Orbitals, Shell
from qmcnet.chemistry.unrestricted import iterate, lowest_solution
from qmcnet.system.ecp_sources import matched_basis, to_pyscf
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)

_METHODS = ("rohf", "uhf")
_BASIS, _MATCHED = "cc-pvdz", "matched"
_SUGGESTIONS = ("cc-pvdz", "def2-svp", "6-31g*", "sto-3g")
_ENERGY_TOLERANCE = 1e-10
_DIIS_CYCLES = 100
_SMALLEST_OVERLAP = 1e-8
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+*(),.=-]{0,60}")
"""Names of basis sets. PySCF takes other texts for basis sets themselves, whose numbers it evaluates as a program."""


@dataclass(frozen=True)
class HartreeFockResult:
    """Outcome of a Hartree-Fock calculation.

    Attributes:
        orbitals: occupied orbitals, float64 on the CPU; of `rohf` the spin-down ones are the first spin-up ones.
        energy: total energy with the nuclear repulsion, hartree.
        converged: whether the self-consistent field converged.
        basis: name of the basis set.
        method: `rohf` or `uhf`.
        solution: the PySCF mean field, with all its orbitals.
    """

    orbitals: Orbitals
    energy: float
    converged: bool
    basis: str
    method: str
    solution: Any = field(repr=False)


def default_basis(molecule: Molecule) -> str:
    """Choose a basis set for whom it does not matter: cc-pVDZ, with diffuse functions for an anion.

    Without them the last electron of an anion is squeezed: UHF puts He- 1.2 hartree too high.

    Args:
        molecule: nuclei and electrons.

    Returns:
        `cc-pvdz`, or `aug-cc-pvdz` for a negative charge where PySCF has it for all elements; with core potentials
        `matched`, or `aug-matched`: the sets that were made for them, and these for other elements.
    """
    if molecule.ecp:
        return _MATCHED if molecule.charge >= 0 else f"aug-{_MATCHED}"
    if molecule.charge >= 0:
        return _BASIS
    missing = [symbol for symbol in dict.fromkeys(molecule.symbols) if not _has_basis(f"aug-{_BASIS}", symbol)]
    if missing:
        logger.warning("PySCF has no diffuse functions (aug-%s) for %s: choose a basis", _BASIS, ", ".join(missing))
        return _BASIS
    logger.info("aug-%s, with diffuse functions, is the basis of the anion %s", _BASIS, molecule.formula)
    return f"aug-{_BASIS}"


def hartree_fock(molecule: Molecule, basis: str | None = None, method: str = "uhf") -> HartreeFockResult:
    """Solve the Hartree-Fock equations of a molecule.

    DIIS comes first and a second-order solver takes over where it fails. Of UHF the lowest solution that can be
    found is taken, which breaks symmetries where that lowers the energy: see `qmcnet.chemistry.unrestricted`.

    Args:
        molecule: nuclei and electrons.
        basis: name of a Gaussian basis set known to PySCF, with shells up to g; None takes `default_basis`.
        method: `rohf` (up and down electrons share orbitals) or `uhf`.

    Returns:
        Orbitals and energy; a calculation that did not converge is reported and gives a warning.

    Raises:
        ValueError: `method` or `basis` is unknown, or the basis is too small for the electrons.
    """
    if method not in _METHODS:
        raise ValueError(f"method={method!r}: choose one of {', '.join(_METHODS)}")
    basis = basis or default_basis(molecule)
    mol = build_mole(molecule, basis)
    functions = gaussian_basis(mol)
    if functions.n_ao < molecule.n_up:
        raise ValueError(
            f"basis={basis!r} has {functions.n_ao} functions for {molecule.n_up} spin-up electrons: "
            "choose a larger basis"
        )
    solution = solve(mol, method)
    if not solution.converged:
        warnings.warn(
            f"{method} of {molecule.formula} in {basis} did not converge: E = {solution.e_tot:.6f} hartree. "
            "The orbitals can still start a pretraining; another basis or method may converge",
            stacklevel=2,
        )
    orbitals = Orbitals(functions, *_occupied(solution, method))
    return HartreeFockResult(orbitals, float(solution.e_tot), bool(solution.converged), basis, method, solution)


def gaussian_basis(mol: Any) -> GaussianBasis:
    """Copy the basis set of a PySCF molecule.

    Args:
        mol: built `pyscf.gto.Mole` with spherical functions.

    Returns:
        The basis functions in the order of `mol`.

    Raises:
        ValueError: `mol` has Cartesian functions.
    """
    if mol.cart:
        raise ValueError("mol.cart=True: only spherical basis functions are supported, set mol.cart=False")
    return GaussianBasis([_shell(mol, i) for i in range(mol.nbas)])


def orthonormal_basis(molecule: Molecule, basis: str) -> tuple[GaussianBasis, torch.Tensor]:
    """Combine the functions of a basis set to orthonormal ones.

    Args:
        molecule: nuclei that carry the functions.
        basis: name of a Gaussian basis set known to PySCF, with shells up to g.

    Returns:
        The basis functions, and coefficients of orthonormal combinations, (n_ao, n), fewer than functions where
        these are almost linearly dependent.
    """
    mol = build_mole(molecule, basis)
    overlaps, vectors = torch.linalg.eigh(torch.tensor(mol.intor("int1e_ovlp")))
    kept = overlaps > _SMALLEST_OVERLAP
    return gaussian_basis(mol), vectors[:, kept] * overlaps[kept].rsqrt()


def _shell(mol: Any, i: int) -> Shell:
    from pyscf.gto import gto_norm

    degree, exponents = int(mol.bas_angular(i)), mol.bas_exp(i)
    coefficients = mol.bas_ctr_coeff(i).T * gto_norm(degree, exponents)
    x, y, z = mol.bas_coord(i).tolist()
    return Shell((x, y, z), degree, tuple(exponents.tolist()), tuple(map(tuple, coefficients.tolist())))


def check_basis(molecule: Molecule, basis: str, name: str = "basis") -> None:
    """Refuse a basis that PySCF does not know.

    Args:
        molecule: nuclei and electrons.
        basis: name of a Gaussian basis set.
        name: what the argument is called.

    Raises:
        ValueError: if it lacks one of the elements.
    """
    if not _NAME.fullmatch(basis):
        raise ValueError(f"{name}={basis[:40]!r} is not the name of a basis set: try cc-pvdz")
    for symbol, chosen in _bases(molecule, basis).items():
        if not _has_basis(chosen, symbol):
            known = [other for other in _SUGGESTIONS if _has_basis(other, symbol)]
            raise ValueError(f"{name}={chosen!r} is not known to PySCF for element {symbol}: try {' or '.join(known)}")


def basis_sets(molecule: Molecule, basis: str) -> str:
    """Name the basis sets of the elements for people.

    Args:
        molecule: nuclei.
        basis: name of a Gaussian basis set, or `matched`.

    Returns:
        Such as `cc-pvdz`, or `ccecp-cc-pvdz (C), cc-pvdz (H)` where they differ.
    """
    chosen = _bases(molecule, basis)
    names = [f"{name} ({symbol})" for symbol, name in chosen.items()]
    return ", ".join(names) if len({*chosen.values()}) > 1 else chosen[molecule.symbols[0]]


def _bases(molecule: Molecule, basis: str) -> dict[str, str]:
    """Name the basis set of each element: that made for its core potential where `matched` is asked for."""
    if basis not in (_MATCHED, f"aug-{_MATCHED}"):
        return dict.fromkeys(molecule.symbols, basis)
    augmented, potentials = basis.startswith("aug-"), dict(molecule.ecp)
    made = {symbol: matched_basis(ecp, augmented) for symbol, ecp in potentials.items()}
    known = {symbol: name for symbol, name in made.items() if name and _has_basis(name, symbol)}
    return {symbol: known.get(symbol, "aug-" * augmented + _BASIS) for symbol in molecule.symbols}


def build_mole(molecule: Molecule, basis: str) -> Any:
    """Build a molecule for PySCF.

    Args:
        molecule: nuclei and electrons.
        basis: name of a Gaussian basis set.

    Returns:
        Built `pyscf.gto.Mole`.

    Raises:
        ValueError: PySCF does not know the basis for one of the elements.
    """
    from pyscf import gto

    check_basis(molecule, basis)
    return gto.Mole(
        atom=list(zip(molecule.symbols, molecule.coordinates, strict=True)),
        unit="bohr",
        basis=_bases(molecule, basis),
        ecp={symbol: to_pyscf(ecp) for symbol, ecp in molecule.ecp},
        charge=molecule.charge,
        spin=molecule.spin,
        verbose=0,
    ).build(dump_input=False, parse_arg=False)


def _has_basis(basis: str, symbol: str) -> bool:
    from pyscf.gto.basis import load
    from pyscf.lib.exceptions import BasisNotFoundError

    if not _NAME.fullmatch(basis) or Path(basis).exists():  # PySCF reads files, too
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PySCF advises to install another package for every unknown name.
        try:
            return bool(load(basis, symbol))
        except (BasisNotFoundError, AssertionError, KeyError, ValueError):
            return False


def solve(mol: Any, method: str) -> Any:
    """Iterate to self-consistency, on one thread.

    Args:
        mol: built `pyscf.gto.Mole`.
        method: `rohf` or `uhf`.

    Returns:
        Mean-field object of PySCF, converged or not.
    """
    from pyscf import lib, scf

    mean_field = (scf.rohf.ROHF if method == "rohf" else scf.uhf.UHF)(mol)
    mean_field.conv_tol, mean_field.max_cycle, mean_field.chkfile = _ENERGY_TOLERANCE, _DIIS_CYCLES, None
    # Threads sum integrals in a random order, which can rotate degenerate orbitals from run to run.
    with lib.with_omp_threads(1):
        return iterate(mean_field) if method == "rohf" else lowest_solution(mean_field)


def _occupied(mean_field: Any, method: str) -> tuple[torch.Tensor, torch.Tensor]:
    coefficients, occupations = mean_field.mo_coeff, mean_field.mo_occ
    if method == "rohf":
        down = coefficients[:, occupations == 2]
        up = np.hstack([down, coefficients[:, occupations == 1]])
    else:
        up, down = (c[:, n > 0] for c, n in zip(coefficients, occupations, strict=True))
    return torch.tensor(up), torch.tensor(down)
