"""How a relaxation ends: the structure with its errors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.chemistry.masses import isotope_mass
from qmcnet.geometry.coordinates import aligned
from qmcnet.geometry.frequencies import Vibrations, vibrations
from qmcnet.geometry.model import SCALE, Model, spread_of
from qmcnet.geometry.point import SurfacePoint, distances, scatter
from qmcnet.report.bond_curve import BondCurve, Figure, fit_bond_curve
from qmcnet.report.origin import geometry
from qmcnet.report.relaxation import Relaxation
from qmcnet.system.bonds import angle, angles, bonds, length
from qmcnet.system.geometry import moved
from qmcnet.system.molecule import Molecule

Array = NDArray[np.float64]

NOT_AT_REST = "the structure is not at rest"
TOO_LARGE = "the errors of the forces are too large: train for longer, or make relaxation.force_error smaller"
DIGITS = 8
"""Of positions in bohr that are told, after the point."""
LEAST_KNOWN = 0.9
"""Share of the posterior that must have a minimum, where the errors of a structure are told."""
LARGEST_ERROR = 0.05
"""Of a wavenumber from energies alone, over its value, beyond which they say too little for a curve."""


def concluded(
    points: Sequence[SurfacePoint],
    model: Model,
    place: Array | None,
    reason: str,
    max_force: float,
    frequencies: bool,
    metadata: Mapping[str, Any],
) -> Relaxation:
    """Find the structure, its errors, and its vibrations.

    Args:
        points: all runs.
        model: fitted to them.
        place: displacements of its minimum, shape (n,).
        reason: why the structure is not at rest, or an empty text.
        max_force: size of forces that does not matter, in hartree/bohr.
        frequencies: whether vibrations are asked for.
        metadata: where the numbers come from.

    Returns:
        The result.

    Raises:
        ValueError: if the points tell no minimum.
    """
    minima = None if place is None else model.minima(place)
    if place is None or minima is None or np.isfinite(minima[:, 0]).mean() < LEAST_KNOWN:
        raise ValueError(
            f"{len(points)} geometries tell no minimum{': ' * bool(reason)}{reason}; relaxation.force_error smaller or "
            "geometries larger tells more"
        )
    symbols, masses = points[0].molecule.symbols, [isotope_mass(symbol) for symbol in points[0].molecule.symbols]
    nuclei, samples = model.nuclei(place), model.nuclei(minima)
    lengths, corners = _internal(symbols, nuclei, samples)
    found = vibrations(model, place, np.array(masses)) if frequencies and not reason else None
    no_vibrations = (NOT_AT_REST if reason else TOO_LARGE) if frequencies and found is None else ""
    nearest = min(points, key=lambda point: _apart(point.nuclei, nuclei))
    return Relaxation(
        molecule=moved(points[0].molecule, np.round(nuclei, DIGITS) + 0.0),
        coordinate_errors=spread_of(lambda each: each, samples).tolist(),
        reason=reason,
        no_vibrations=no_vibrations,
        bonds=lengths,
        angles=corners,
        energy={"value": nearest.energy, "error": nearest.error},
        nearest=nearest.directory.name,
        force_error=float(model.force_errors(place).max()),
        max_force=max_force,
        left_out=_largest(*model.offset),
        wavenumbers=None if found is None else _figures(found.wavenumbers, found.errors),
        zero_point_energy=_zero_point(found),
        curve=curve_of(points, masses) if len(symbols) == 2 else None,
        points=[_plain(point) for point in points],
        chi2=model.chi2,
        known=model.known,
        metadata=metadata,
    )


def check_relaxable(molecule: Molecule) -> None:
    """Refuse what has no geometry.

    Args:
        molecule: the system.

    Raises:
        ValueError: of an atom.
    """
    if len(molecule.symbols) == 1:
        raise ValueError(f"{molecule.formula} is an atom, and has no geometry to relax: name a molecule")


def _internal(symbols: Sequence[str], nuclei: Array, samples: Array) -> tuple[dict[str, Figure], dict[str, Figure]]:
    """Measure bond lengths and angles, by the names of the atoms."""
    pairs, names = bonds(symbols, nuclei), [f"{symbol}{number}" for number, symbol in enumerate(symbols, start=1)]
    lengths = {"-".join(names[i] for i in pair): _measured(length, nuclei, samples, pair) for pair in pairs}
    return lengths, {
        "-".join(names[i] for i in three): _measured(angle, nuclei, samples, three) for three in angles(pairs)
    }


def _zero_point(found: Vibrations | None) -> Figure | None:
    return None if found is None else {"value": found.zero_point_energy, "error": found.zero_point_error}


def _largest(values: Array, errors: Array) -> Figure:
    place = int(np.abs(values).argmax())
    return {"value": float(np.abs(values[place])), "error": float(errors[place])}


def _measured(measure: Any, nuclei: Array, samples: Array, atoms: Sequence[int]) -> Figure:
    error = float(spread_of(lambda each: np.array(measure(each, *atoms)), samples))
    return {"value": float(measure(nuclei, *atoms)), "error": error}


def _figures(values: Array, errors: Array) -> list[Figure]:
    return [{"value": float(value), "error": float(error)} for value, error in zip(values, errors, strict=True)]


def _apart(nuclei: Array, other: Array) -> float:
    return float(np.linalg.norm(aligned(nuclei, other)[0] - other))


def curve_of(points: Sequence[SurfacePoint], masses: Sequence[float]) -> BondCurve | None:
    """Fit a curve to energies of a diatomic molecule, each taken as far above the exact one as its run says.

    Args:
        points: all runs.
        masses: of the two nuclei, in atomic mass units.

    Returns:
        The curve; None where there are too few energies for its constants.
    """
    lengths, above = [length(point.nuclei, 0, 1) for point in points], distances(points).tolist()
    energies = [point.energy - distance for point, distance in zip(points, above, strict=True)]
    errors = [math.hypot(point.error, scatter(distance)) for point, distance in zip(points, above, strict=True)]
    found = fit_bond_curve(lengths, energies, errors, (masses[0], masses[1]))
    if found is None or found.freedom < 1:
        return None
    value, error, depth = found.wavenumber["value"], found.wavenumber["error"], found.energy["error"]
    if value is None or error is None or depth is None or error > LARGEST_ERROR * value:
        return None
    shared = SCALE * float(np.mean(above))  # by which all are too low or too high
    return replace(found, energy=found.energy | {"error": math.hypot(depth, shared)})


def _plain(point: SurfacePoint) -> dict[str, Any]:
    return {
        "directory": point.directory.name,
        "bohr": geometry(point.molecule)["bohr"],
        "energy": point.energy,
        "error": point.error,
        "distance": point.distance,
        "forces": point.forces.tolist(),
        "force_errors": point.force_errors.tolist(),
    }
