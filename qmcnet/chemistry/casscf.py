"""Multi-determinant wavefunctions of a molecule: complete active spaces with optimised orbitals, from PySCF.

Letters: K determinants, M orbitals.

References:
    Roos, Taylor, Siegbahn, Chem. Phys. 48, 157 (1980), doi:10.1016/0301-0104(80)80045-0.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qmcnet.chemistry.excitations import Determinant
from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.chemistry.scf import build_mole, gaussian_basis, solve
from qmcnet.system.molecule import Molecule

_SPIN_TOLERANCE = 1e-3
_ENERGY_TOLERANCE = 1e-9
_MACRO_CYCLES = 200
_EXTRA_ROOTS = 4  # roots that may lead with a determinant that another one has taken
_DECIMALS = 6  # amplitudes that differ less are degenerate and ordered by their orbitals


@dataclass(frozen=True)
class CasscfResult:
    """Outcome of a CASSCF calculation: psi = sum_k c_k det_k(up) det_k(down).

    Attributes:
        basis: Gaussian basis set.
        orbitals: coefficients of core and natural active orbitals, (n_ao, M), float64 on the CPU.
        up: orbitals of the spin-up electrons in each determinant, ascending, (K, n_up).
        down: orbitals of the spin-down electrons in each determinant, ascending, (K, n_down).
        coefficients: c_k, largest first, (K,).
        energy: total energy of all determinants with the nuclear repulsion, hartree.
        energy_of_kept: the same of those that were kept alone.
        converged: whether orbitals and coefficients converged.
    """

    basis: GaussianBasis
    orbitals: Tensor
    up: Tensor
    down: Tensor
    coefficients: Tensor
    energy: float
    energy_of_kept: float
    converged: bool


def casscf(
    molecule: Molecule,
    basis: str,
    active_electrons: int,
    active_orbitals: int,
    ci_threshold: float = 0.0,
    most: int | None = None,
) -> CasscfResult:
    """Solve the CASSCF equations of a molecule for the lowest state of its spin, starting from ROHF.

    Args:
        molecule: nuclei and electrons; its spin n_up - n_down is 2S.
        basis: name of a Gaussian basis set known to PySCF, with shells up to g.
        active_electrons: electrons in the active space.
        active_orbitals: orbitals of the active space.
        ci_threshold: determinants with |c_k| below it are left out; 0 keeps all.
        most: number of determinants that are kept at most, the leading ones.

    Returns:
        Natural orbitals, determinants and energy; a calculation that did not converge is reported and gives a warning.

    Raises:
        ValueError: the active space does not fit the molecule or the basis, the threshold leaves no determinant, or
            no state of the right spin was found.
    """
    mol = build_mole(molecule, basis)
    functions = gaussian_basis(mol)
    _check_space(molecule, basis, functions.n_ao, active_electrons, active_orbitals)
    solution = _solve_active_space(mol, molecule, active_electrons, active_orbitals)
    if not solution.converged:
        warnings.warn(
            f"casscf({active_electrons},{active_orbitals}) of {molecule.formula} in {basis} did not converge: "
            f"E = {solution.e_tot:.6f} hartree",
            stacklevel=2,
        )
    parts = _expansion(solution.ci, solution.ncore, active_orbitals, solution.nelecas, ci_threshold)
    coefficients, up, down = (part[:most] for part in parts)
    orbitals = torch.tensor(solution.mo_coeff[:, : solution.ncore + active_orbitals])
    energies = float(solution.e_tot), _energy_of_leading(solution, len(coefficients))
    return CasscfResult(functions, orbitals, up, down, coefficients, *energies, bool(solution.converged))


def leading_of_roots(
    molecule: Molecule, basis: str, active_electrons: int, active_orbitals: int, n_states: int
) -> tuple[CasscfResult, list[Determinant]]:
    """Choose, of each of the lowest roots of the active space, the determinant of largest weight not taken before.

    The roots are those of a diagonalisation in the natural orbitals of CASSCF for the ground state.

    Args:
        molecule: nuclei and electrons.
        basis: name of a Gaussian basis set known to PySCF, with shells up to g.
        active_electrons: electrons in the active space.
        active_orbitals: orbitals of the active space.
        n_states: number of states S.

    Returns:
        The ground state, and a determinant for each state, no two of them equal.

    Raises:
        ValueError: the active space has too few determinants for the states, or does not fit.
    """
    from pyscf import lib, mcscf

    ground = casscf(molecule, basis, active_electrons, active_orbitals)
    n_core = (molecule.n_electrons - active_electrons) // 2
    n_down = (active_electrons - molecule.spin) // 2
    active = (active_electrons - n_down, n_down)
    if len(ground.coefficients) < n_states:
        raise ValueError(
            f"active_electrons={active_electrons}, active_orbitals={active_orbitals} give {len(ground.coefficients)} "
            f"determinants for states={n_states}: choose a larger active space or fewer states"
        )
    mean_field = solve(build_mole(molecule, basis), "rohf")
    solver = mcscf.CASCI(mean_field, active_orbitals, active)
    solver.fcisolver.nroots = min(n_states + _EXTRA_ROOTS, len(ground.coefficients))
    with lib.with_omp_threads(1):
        # The virtual orbitals take no part but complete the matrix that PySCF expects.
        orbitals = np.hstack([ground.orbitals.numpy(), mean_field.mo_coeff[:, n_core + active_orbitals :]])
        roots = solver.kernel(orbitals)[2]
    chosen: list[Determinant] = []
    for root in roots:
        _, up, down = _expansion(np.round(root, _DECIMALS), n_core, active_orbitals, active, 0.0)
        determinants = zip(map(tuple, up.tolist()), map(tuple, down.tolist()), strict=True)
        chosen += [next(determinant for determinant in determinants if determinant not in chosen)]
    return ground, chosen[:n_states]


def active_space(method: str, active_electrons: int | None, active_orbitals: int | None) -> tuple[int, int] | None:
    """Check that an active space is given to CASSCF, and to nothing else.

    Args:
        method: 'casscf' or any other.
        active_electrons: electrons in the active space of 'casscf'.
        active_orbitals: orbitals in the active space of 'casscf'.

    Returns:
        Electrons and orbitals of the active space, None of another method.

    Raises:
        ValueError: an active space is missing, or given without 'casscf'.
    """
    if method != "casscf":
        if active_electrons is not None or active_orbitals is not None:
            raise ValueError(
                f"active_electrons and active_orbitals belong to method='casscf', not to method={method!r}"
            )
        return None
    if active_electrons is None or active_orbitals is None:
        raise ValueError(
            f"method='casscf' needs active_electrons and active_orbitals, got {active_electrons} and {active_orbitals}"
        )
    return active_electrons, active_orbitals


def _check_space(molecule: Molecule, basis: str, n_ao: int, n_electrons: int, n_orbitals: int) -> None:
    fitting = [n for n in range(1, molecule.n_electrons + 1) if n >= molecule.spin and not (n - molecule.spin) % 2]
    if n_electrons not in fitting:
        raise ValueError(f"active_electrons={n_electrons} of {molecule.formula} must be one of {fitting}")
    smallest, largest = (n_electrons + molecule.spin) // 2, n_ao - (molecule.n_electrons - n_electrons) // 2
    if not smallest <= n_orbitals <= largest:
        raise ValueError(
            f"active_orbitals={n_orbitals}: {n_electrons} active electrons in basis={basis!r} allow "
            f"{smallest} to {largest}"
        )


def _solve_active_space(mol: Any, molecule: Molecule, n_electrons: int, n_orbitals: int) -> Any:
    from pyscf import lib, mcscf

    mean_field = solve(mol, "rohf")
    n_down = (n_electrons - molecule.spin) // 2
    solver = mcscf.CASSCF(mean_field, n_orbitals, (n_electrons - n_down, n_down))
    solver.conv_tol, solver.max_cycle_macro = _ENERGY_TOLERANCE, _MACRO_CYCLES
    solver.natorb, solver.chkfile = True, None
    spin = molecule.spin / 2
    solver.fix_spin_(ss=spin * (spin + 1))
    # Threads sum integrals in a random order, which can rotate degenerate orbitals from run to run.
    with lib.with_omp_threads(1):
        solver.kernel()
    found = float(solver.fcisolver.spin_square(solver.ci, n_orbitals, solver.nelecas)[0])
    if abs(found - spin * (spin + 1)) > _SPIN_TOLERANCE:
        raise ValueError(
            f"active space of {n_electrons} electrons in {n_orbitals} orbitals: <S^2> = {found:.4f} is not "
            f"{spin * (spin + 1)} of spin {molecule.spin}; choose more active orbitals"
        )
    return solver


def _energy_of_leading(solution: Any, count: int) -> float:
    """Energy of the leading determinants alone, normalised."""
    from pyscf.fci import direct_spin1

    ci = np.array(solution.ci)
    ci.ravel()[_leading(ci)[count:]] = 0
    integrals, core = solution.get_h1eff()
    energy = direct_spin1.energy(integrals, solution.get_h2eff(), ci, solution.ncas, solution.nelecas)
    return float(energy / (ci**2).sum() + core)


def _leading(ci: Any) -> Tensor:
    """Order determinants by their weight."""
    return torch.tensor(np.asarray(ci)).abs().flatten().argsort(descending=True, stable=True)


def _expansion(
    ci: Any, n_core: int, n_orbitals: int, n_electrons: tuple[int, int], threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    from pyscf.fci import cistring

    core = list(range(n_core))
    strings = [
        torch.tensor([core + (n_core + row).tolist() for row in cistring.gen_occslst(range(n_orbitals), n)])
        for n in n_electrons
    ]
    ci = torch.tensor(np.asarray(ci)).reshape(len(strings[0]), len(strings[1]))
    order = _leading(ci)
    order = order[ci.abs().flatten()[order] >= threshold]
    if not len(order):
        raise ValueError(f"ci_threshold={threshold} leaves no determinant: the largest has {ci.abs().max():.3f}")
    up, down = order // len(strings[1]), order % len(strings[1])
    return ci.flatten()[order], strings[0][up], strings[1][down]
