"""Figures that chemists quote, made of expectation values and transition elements.

Letters: S states.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MULTIPLICITIES = ("singlet", "doublet", "triplet", "quartet", "quintet", "sextet", "septet", "octet", "nonet")
TOLERANCE = 0.1
"""Distance of <S^2> from s (s + 1) that is put down to an approximate wavefunction, besides three standard errors."""


def multiplicity(s_squared: float, error: float, n_electrons: int) -> str:
    """Name the spin of a state.

    Args:
        s_squared: expectation value of S^2.
        error: its standard error; NaN if unknown.
        n_electrons: number of electrons, half-integer spins of an odd number of which have even multiplicities.

    Returns:
        'singlet', 'doublet' and so on, a number for more than nine, 'mixed' where S^2 is none of s (s + 1), or
        'unclear' where its error allows for several.
    """
    allowed = TOLERANCE + (3 * error if math.isfinite(error) else 0.0)
    possible = range(n_electrons % 2, n_electrons + 1, 2)  # twice the spin
    near = [twice for twice in possible if abs(s_squared - twice * (twice + 2) / 4) <= allowed]
    if len(near) != 1:
        return "unclear" if near or math.isnan(s_squared) else "mixed"
    (twice,) = near
    return MULTIPLICITIES[twice] if twice < len(MULTIPLICITIES) else str(twice + 1)


def oscillator_strengths(energy: NDArray[Any], dipole: NDArray[Any]) -> NDArray[np.float64]:
    """Oscillator strengths of transitions from the lowest state, in length gauge: f = 2/3 (E_j - E_0) |mu_0j|^2.

    Eigenvectors of a matrix that is not symmetric have no common norm, but mu_0j mu_j0 does not depend on it.

    Args:
        energy: ascending, shape (S,), in hartree.
        dipole: dipole matrix in the basis of the eigenstates, shape (3, S, S), in e bohr.

    Returns:
        Shape (S,), zero for the lowest state itself.
    """
    squares = (dipole[:, 0, :] * dipole[:, :, 0]).sum(0).real
    strengths: NDArray[np.float64] = 2 / 3 * (energy - energy[0]) * squares
    return strengths
