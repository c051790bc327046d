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

from qmcnet.report.reference import Reference, lookup
from qmcnet.report.table import with_error
from qmcnet.system.molecule import Molecule

ELECTRON_MASSES = 1822.888486209
"""In one atomic mass unit (CODATA 2018)."""
WAVENUMBERS = 219474.6313632
"""In one hartree, in 1/cm (CODATA 2018)."""
FREE, DEGREE = 3, 8
"""Coefficients of which nothing is known beforehand, and the degree of the polynomial."""
HIGHER = 2.0
"""Standard deviation of the other coefficients about zero, in units of the second."""
N_ROUNDS = 3
SMALLEST_PROBABILITY = 0.05
"""Of as large a chi^2 by chance, below which the errors of the points are not believed."""

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
        chi2: sum of the squared deviations in standard errors, of points and of what is known of coefficients.
        freedom: points less coefficients of which nothing is known beforehand.
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
    """Fit a polynomial whose higher coefficients are known beforehand to be about as large as the second.

    What the energies do not tell of these is part of all errors: three points give a minimum, but not its place to
    the last digit. Where points scatter more than their errors allow, all errors are stretched.

    Args:
        lengths: bond lengths, in bohr.
        energies: in hartree.
        errors: their standard errors, in hartree.
        masses: of the two atoms, in atomic mass units.

    Returns:
        The curve; None of fewer than three bond lengths, without errors, or where the lowest energy is at an
        end of them, or may be within the errors.
    """
    if len(set(lengths)) < FREE or lengths[int(np.argmin(energies))] in (min(lengths), max(lengths)):
        return None
    if min(errors) <= 0:
        return None
    x, y, sigma = (np.asarray(numbers, dtype=np.float64) for numbers in (lengths, energies, errors))
    reference, shift = float(x[y.argmin()]), float(y.min())
    places = reference / x - 1
    curvature = _local_curvature(places, y - shift)
    for _ in range(N_ROUNDS):  # how large coefficients may be follows from the curvature, and hardly changes it
        found, covariance, chi2 = _weighted(places, y - shift, sigma, HIGHER * curvature)
        curvature = float(found[2]) if found[2] > 0 else curvature
    freedom = len(x) - FREE
    if freedom and float(torch.special.gammaincc(*torch.tensor([freedom, chi2]).double() / 2)) < SMALLEST_PROBABILITY:
        covariance = covariance * max(chi2 / freedom, 1.0)
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
        freedom=freedom,
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
    if molecule.charge == 0 and (known := [atom for atom in atoms if atom]) == atoms:
        lines.append(f"D_e              {_depth(curve, known)}")
    return lines


def _depth(curve: BondCurve, atoms: Sequence[Reference]) -> str:
    """Say how far the curve is below the energies of the atoms, whose errors count; those of equal atoms are equal."""
    depth = sum(atom.energy for atom in atoms) - (curve.energy["value"] or 0.0)
    of_atoms = [atom.uncertainty * atoms.count(atom) for atom in dict.fromkeys(atoms) if atom.uncertainty]
    error = None if curve.energy["error"] is None else 1e3 * math.hypot(curve.energy["error"], *of_atoms)
    kinds = [atom.kind for atom in dict.fromkeys(atoms) if atom.kind != "exact"]
    what = (
        f"known energies of the atoms ({', '.join(dict.fromkeys(kinds))})" if kinds else "exact energies of the atoms"
    )
    return f"{with_error({'value': 1e3 * depth, 'error': error}, 2)} mHa, to the {what}"


def _figure(value: float, error: float) -> Figure:
    return {"value": float(value), "error": float(error)}


def _local_curvature(places: NDArray[np.float64], energies: NDArray[np.float64]) -> float:
    """Second coefficient of the parabola through the lowest energy and those next to it, which is not negative."""
    lowest = energies.argmin()
    below, above = (
        min((each for each in np.flatnonzero(side)), key=lambda each: abs(places[each] - places[lowest]))
        for side in (places < places[lowest], places > places[lowest])
    )
    chosen = [below, lowest, above]
    return float(np.polynomial.polynomial.polyfit(places[chosen], energies[chosen], 2)[2])


def _weighted(
    x: NDArray[np.float64], y: NDArray[np.float64], sigma: NDArray[np.float64], width: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Fit by least squares, with what is known beforehand as further rows: coefficients, their covariance, chi^2."""
    known = np.eye(DEGREE + 1)[FREE:] / width
    rows = np.concatenate([np.vander(x, DEGREE + 1, increasing=True) / sigma[:, None], known])
    right = np.concatenate([y / sigma, np.zeros(len(known))])
    inverse = np.linalg.pinv(rows)
    found = inverse @ right
    return found, inverse @ inverse.T, float(np.square(rows @ found - right).sum())


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
