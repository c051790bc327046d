"""Harmonic vibrations of a structure at rest.

Letters: A nuclei, n internal coordinates, K samples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmcnet.geometry.model import Model
from qmcnet.report.bond_curve import ELECTRON_MASSES
from qmcnet.system.units import WAVENUMBERS_PER_HARTREE

Array = NDArray[np.float64]

LARGEST_SHARE = 0.5
"""Of what a mean field may be off, that the error of a force constant may be: beyond, the runs have little say."""


@dataclass(frozen=True)
class Vibrations:
    """Harmonic vibrations, by rising wavenumber.

    Attributes:
        wavenumbers: in 1/cm, shape (n,); negative ones are imaginary.
        errors: their standard errors, shape (n,).
        zero_point_energy: half the sum of the real ones, in hartree.
        zero_point_error: its standard error.
    """

    wavenumbers: Array
    errors: Array
    zero_point_energy: float
    zero_point_error: float


def harmonic(hessian: Array, directions: Array, masses: Array) -> Array:
    """Solve the equations of motion, which rigid motions take no part in.

    The squares of the frequencies are the eigenvalues of G^(1/2) H G^(1/2), with H in internal coordinates q, which
    rigid motions leave alone, and G = V^T M^-1 V.

    Args:
        hessian: H, shape (..., n, n), in hartree/bohr^2.
        directions: V, of the coordinates, shape (3 A, n).
        masses: M, of the nuclei, shape (A,), in atomic mass units.

    Returns:
        Wavenumbers in 1/cm, rising, shape (..., n); negative ones are imaginary.
    """
    weights = np.repeat(1 / (masses * ELECTRON_MASSES), 3)
    root = np.linalg.cholesky(directions.T @ (weights[:, None] * directions))
    values = np.linalg.eigvalsh(root.T @ hessian @ root)
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)) * WAVENUMBERS_PER_HARTREE)


def vibrations(model: Model, place: Array, masses: Array) -> Vibrations | None:
    """Find the vibrations at a minimum of a model; where it lies in truth is part of their errors.

    Args:
        model: fitted to forces at displaced geometries.
        place: the minimum, shape (n,), in bohr.
        masses: of the nuclei, shape (A,), in atomic mass units.

    Returns:
        The vibrations; None where errors are so large that the mean field has most of the say.
    """
    polynomial, minima = model.polynomial, model.minima(place)
    curvature = polynomial.hessian(place, model.samples)
    if (np.diagonal(curvature.std(0)) > LARGEST_SHARE * polynomial.width * polynomial.constants).any():
        return None
    known = [(own, sample) for own, sample in zip(minima, model.samples, strict=True) if np.isfinite(own).all()]
    hessians = np.stack([polynomial.hessian(own, sample) for own, sample in known])
    samples = harmonic(hessians, model.directions, masses)
    mean = harmonic(polynomial.hessian(place, model.mean), model.directions, masses)
    zero_point = np.maximum(samples, 0).sum(-1) / (2 * WAVENUMBERS_PER_HARTREE)
    return Vibrations(
        wavenumbers=mean,
        errors=samples.std(0),
        zero_point_energy=float(np.maximum(mean, 0).sum() / (2 * WAVENUMBERS_PER_HARTREE)),
        zero_point_error=float(zero_point.std()),
    )
