"""Second derivatives of the mean-field energy by the positions of the nuclei."""

import numpy as np
from numpy.typing import NDArray

from qmcnet.chemistry.scf import build_mole, default_basis, solve
from qmcnet.system.molecule import Molecule


def mean_field_hessian(molecule: Molecule) -> NDArray[np.float64]:
    """Differentiate the energy of unrestricted Hartree-Fock twice, in a basis of double zeta.

    Args:
        molecule: nuclei and electrons.

    Returns:
        Shape (3 A, 3 A), in hartree/bohr^2.
    """
    from pyscf import lib
    from pyscf.hessian import uhf  # with effective core potentials, too

    solution = solve(build_mole(molecule, default_basis(molecule)), "uhf")
    with lib.with_omp_threads(1):  # as threads round at random
        hessian = np.asarray(uhf.Hessian(solution).kernel())  # (A, A, 3, 3)
    size = 3 * len(molecule.symbols)
    square = hessian.transpose(0, 2, 1, 3).reshape(size, size)
    return np.asarray((square + square.T) / 2, dtype=np.float64)
