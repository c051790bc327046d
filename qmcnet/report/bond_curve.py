"""Spectroscopic constants of a diatomic molecule from energies at several bond lengths.

The energy is a polynomial in the inverse of the bond length, which converges on both sides of the minimum:
Simons, Parr, Finlan, J. Chem. Phys. 59, 3229 (1973), doi:10.1063/1.1680464.

Letters: n bond lengths, p coefficients.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qmcnet.report.reference import lookup
from qmcnet.report.table import with_error
from qmcnet.system.molecule import Molecule

ELECTRON_MASSES = 1822.888486209
"""In one atomic mass unit (CODATA 2018)."""
WAVENUMBERS = 219474.6313632
"""In one hartree, in 1/cm (CODATA 2018)."""
LEAST, MOST = 2, 6
"""Degrees of the polynomial."""
SMALLEST_PROBABILITY = 0.05
"""Of as large a chi^2 by chance, below which a degree is not believed."""

Figure = dict[str, float | None]
"""Value and error, which is None where it is not known."""


@dataclass(frozen=True)
class BondCurve:
    """A fitted curve.

    Attributes:
        coefficients: of powers of reference / R - 1, in hartree, ascending, shape (p,).
        reference: length by which bond lengths are divided, in bohr.
        bond_length: r_e, where the energy is lowest, in bohr.
        wavenumber: omega_e, of the harmonic vibration, in 1/cm.
        energy: at r_e, in hartree.
        chi2: sum of the squared deviations in standard errors.
        freedom: points less coefficients.
    """

    coefficients: NDArray[np.float64]
    reference: float
    bond_length: Figure
    wavenumber: Figure
    energy: Figure
    chi2: float
    freedom: int

    def __call__(self, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate the curve, in hartree, at bond lengths in bohr."""
        return np.asarray(np.polynomial.polynomial.polyval(self.reference / lengths - 1, self.coefficients), np.float64)


def fit_bond_curve(
    lengths: Sequence[float], energies: Sequence[float], errors: Sequence[float], masses: tuple[float, float]
) -> BondCurve | None:
    """Fit a polynomial, of a degree one higher than the lowest that agrees with the energies.

    Args:
        lengths: bond lengths, in bohr.
        energies: in hartree.
        errors: their standard errors, in hartree.
        masses: of the two atoms, in atomic mass units.

    Returns:
        The curve; None of fewer than three bond lengths, without errors, or where the lowest energy is at an
        end of them, or may be within the errors.
    """
    if len(set(lengths)) <= LEAST or np.argmin(energies) in (np.argmin(lengths), np.argmax(lengths)):
        return None
    if min(errors) <= 0:
        return None
    x, y, sigma = (np.asarray(numbers, dtype=np.float64) for numbers in (lengths, energies, errors))
    reference, shift = float(x[y.argmin()]), float(y.min())
    most = min(len(set(lengths)) - 1, MOST)
    for degree in range(LEAST, most + 1):
        _, _, chi2 = _weighted(reference / x - 1, y - shift, sigma, degree)
        half = torch.tensor([(len(x) - degree - 1) / 2, chi2 / 2], dtype=torch.float64)
        if degree == most or float(torch.special.gammaincc(*half)) >= SMALLEST_PROBABILITY:
            break
    degree = min(degree + 1, most)  # what a lower one leaves out may hide in the noise and shift the constants by more
    found, covariance, chi2 = _weighted(reference / x - 1, y - shift, sigma, degree)
    best = _minimum(found, reference, x)
    if best is None:
        return None
    value, error = np.array(best), _propagated(found, covariance, lambda each: _minimum(each, reference, x))
    if not np.isfinite(error).all():
        return None
    scale = _wavenumber(1.0, masses)
    return BondCurve(
        coefficients=found + shift * (np.arange(len(found)) == 0),
        reference=reference,
        bond_length=_figure(value[0], error[0]),
        wavenumber=_figure(scale * value[1], scale * error[1]),
        energy=_figure(value[2] + shift, error[2]),
        chi2=chi2,
        freedom=len(x) - degree - 1,
    )


def constants(curve: BondCurve, molecule: Molecule) -> list[str]:
    """Print the spectroscopic constants of a diatomic molecule.

    Args:
        curve: fitted to its energies.
        molecule: at any bond length.

    Returns:
        A few lines.
    """
    lines = [
        f"r_e              {with_error(curve.bond_length, 4)} bohr (chi^2 {curve.chi2:.1f} of {curve.freedom})",
        f"omega_e          {with_error(curve.wavenumber, 0)} cm^-1",
    ]
    potentials = dict(molecule.ecp)
    atoms = [lookup(Molecule.atom(symbol).with_ecp({symbol: potentials.get(symbol)})) for symbol in molecule.symbols]
    if molecule.charge == 0 and all(atoms):
        value, error = curve.energy["value"] or 0.0, curve.energy["error"]
        depth = sum(atom.energy for atom in atoms if atom) - value
        figure = {"value": 1e3 * depth, "error": None if error is None else 1e3 * error}
        lines.append(f"D_e              {with_error(figure, 2)} mHa, to the exact energies of the atoms")
    return lines


def _figure(value: float, error: float) -> Figure:
    return {"value": float(value), "error": float(error)}


def _weighted(
    x: NDArray[np.float64], y: NDArray[np.float64], sigma: NDArray[np.float64], degree: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit by least squares: coefficients, their covariance, chi^2."""
    rows = np.vander(x, degree + 1, increasing=True) / sigma[:, None]
    inverse = np.linalg.pinv(rows)
    found = inverse @ (y / sigma)
    return found, inverse @ inverse.T, float(np.square(rows @ found - y / sigma).sum())


def _propagated(
    found: NDArray[np.float64],
    covariance: NDArray[np.float64],
    evaluate: Callable[[NDArray[np.float64]], tuple[float, float, float] | None],
) -> NDArray[np.float64]:
    """Errors of what coefficients give, from a standard deviation along each axis of their covariance, or nan."""
    variances, axes = np.linalg.eigh(covariance)
    squares = np.zeros(3)
    for axis in (axes * np.sqrt(np.maximum(variances, 0))).T:
        above, below = evaluate(found + axis), evaluate(found - axis)
        known = above is not None and below is not None
        squares += np.square(np.subtract(above, below) / 2) if known else np.nan  # type: ignore[arg-type]
    return np.sqrt(squares)


def _minimum(
    coefficients: NDArray[np.float64], reference: float, lengths: NDArray[np.float64]
) -> tuple[float, float, float] | None:
    """Find where a polynomial in reference / R - 1 is lowest within the bond lengths: R, sqrt(d2E/dR2), E."""
    curve = np.polynomial.Polynomial(coefficients)
    roots = curve.deriv().roots()
    places = roots.real[np.abs(roots.imag) < 1e-9]
    first, last = reference / lengths.max() - 1, reference / lengths.min() - 1
    inside = [place for place in places if first <= place <= last and curve.deriv(2)(place) > 0]
    if not inside:
        return None
    place = min(inside, key=curve)
    length = reference / (1 + place)
    return length, math.sqrt(curve.deriv(2)(place)) * reference / length**2, float(curve(place))


def _wavenumber(root: float, masses: tuple[float, float]) -> float:
    """Turn sqrt(d2E/dR2), in atomic units, into 1/cm."""
    reduced = masses[0] * masses[1] / sum(masses) * ELECTRON_MASSES
    return root / math.sqrt(reduced) * WAVENUMBERS
