"""Second derivatives of the mean-field energy by the positions of the nuclei."""

import numpy as np
from numpy.typing import NDArray

from qmcnet.chemistry.scf import build_mole, default_basis, solve
from qmcnet.system.geometry import moved
from qmcnet.system.molecule import Molecule

SHIFT = 0.01
"""Of nuclei in bohr, for differences of gradients."""


def mean_field_hessian(molecule: Molecule) -> NDArray[np.float64]:
    """Differentiate the energy of unrestricted Hartree-Fock twice, in a basis of double zeta.

    Args:
        molecule: nuclei and electrons.

    Returns:
        Shape (3 A, 3 A), in hartree/bohr^2.
    """
    if molecule.n_down == 0:  # for which PySCF has no second derivatives
        return _differences(molecule)
    from pyscf import lib
    from pyscf.hessian import uhf  # with effective core potentials, too

    solution = solve(build_mole(molecule, default_basis(molecule)), "uhf")
    with lib.with_omp_threads(1):  # as threads round at random
        hessian = np.asarray(uhf.Hessian(solution).kernel())  # (A, A, 3, 3)
    size = 3 * len(molecule.symbols)
    square = hessian.transpose(0, 2, 1, 3).reshape(size, size)
    return np.asarray((square + square.T) / 2, dtype=np.float64)


def _differences(molecule: Molecule) -> NDArray[np.float64]:
    """Take differences of gradients, shape (3 A, 3 A), in hartree/bohr^2."""
    centre = np.array(molecule.coordinates)
    shifts = SHIFT * np.eye(centre.size).reshape(-1, *centre.shape)
    rows = [_gradient(moved(molecule, centre + each)) - _gradient(moved(molecule, centre - each)) for each in shifts]
    square = np.array(rows) / (2 * SHIFT)
    return np.asarray((square + square.T) / 2, dtype=np.float64)


def _gradient(molecule: Molecule) -> NDArray[np.float64]:
    """Differentiate the energy once, shape (3 A,), in hartree/bohr."""
    solution = solve(build_mole(molecule, default_basis(molecule)), "uhf")
    return np.asarray(solution.nuc_grad_method().run(verbose=0).de, dtype=np.float64).ravel()
