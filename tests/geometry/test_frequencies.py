from dataclasses import replace

import numpy as np
import pytest
from geometry.surfaces import LENGTH, STIFFNESS, WATER, Morse, Springs, hydrogen

from qmcnet.chemistry.masses import isotope_mass
from qmcnet.geometry.coordinates import internal_directions
from qmcnet.geometry.frequencies import harmonic, vibrations
from qmcnet.geometry.model import Model

PROTON = isotope_mass("H")
MASSES = np.array([PROTON, PROTON])
WATER_MASSES = np.array([isotope_mass(symbol) for symbol in "OHH"])
PER_ATOMIC_UNIT = 219474.6313632 / np.sqrt(1822.888486209)
"""1/cm in the root of a hartree/bohr^2 over an atomic mass unit."""
EXACT = np.sqrt(STIFFNESS / (PROTON / 2)) * PER_ATOMIC_UNIT


def test_a_diatomic_molecule_vibrates_with_its_reduced_mass():
    nuclei, masses = np.array([[0, 0, 0], [0, 0, 3.0]]), np.array([7.016, 1.0078])
    directions, stiffness = internal_directions(nuclei), 0.066
    hessian = np.array([[2 * stiffness]])  # each nucleus goes half of the way, over the root of two
    expected = np.sqrt(stiffness * (1 / masses).sum()) * PER_ATOMIC_UNIT
    np.testing.assert_allclose(harmonic(hessian, directions, masses), [expected], rtol=1e-9)
    assert harmonic(-hessian, directions, masses)[0] == pytest.approx(-expected, rel=1e-9)


def test_wavenumbers_of_water_are_those_of_the_whole_mass_weighted_hessian():
    springs, directions = Springs(), internal_directions(WATER)
    weights = np.repeat(1 / np.sqrt(WATER_MASSES), 3)
    values = np.linalg.eigvalsh(weights[:, None] * springs.hessian() * weights)
    np.testing.assert_allclose(values[:6], 0, atol=1e-12)
    found = harmonic(directions.T @ springs.hessian() @ directions, directions, WATER_MASSES)
    np.testing.assert_allclose(found, np.sqrt(values[6:]) * PER_ATOMIC_UNIT, rtol=1e-9)


def test_frequencies_follow_from_forces_at_displaced_geometries_as_their_errors_say():
    """Of 16 of them chi^2 is 16 +- 6; the mean field alone would give 8 % more."""
    pulls, zero_points = [], []
    centre = hydrogen(LENGTH)
    for seed in range(16):
        surface = Morse(force_error=5e-4, error=1e-4, seed=seed)
        points = [surface(hydrogen(each)) for each in (LENGTH, LENGTH - 0.09, LENGTH + 0.09)]
        model = Model.fit(points, np.array(centre.coordinates), Morse.hessian(centre))
        found = vibrations(model, model.minimum(np.zeros(1)), MASSES)
        assert found.errors[0] < 0.02 * EXACT
        pulls.append((found.wavenumbers[0] - EXACT) / found.errors[0])
        zero_points.append((found.zero_point_energy - EXACT / 2 / 219474.6313632) / found.zero_point_error)
    assert 2 < np.square(pulls).sum() < 16 + 4 * 6
    np.testing.assert_allclose(zero_points, pulls, rtol=1e-4)


def test_noise_that_leaves_the_mean_field_alone_gives_no_frequencies():
    surface, centre = Morse(force_error=5e-2, error=1e-2), hydrogen(LENGTH)
    points = [surface(hydrogen(each)) for each in (LENGTH, LENGTH - 0.09, LENGTH + 0.09)]
    model = Model.fit(points, np.array(centre.coordinates), Morse.hessian(centre))
    assert vibrations(model, np.zeros(1), MASSES) is None


def test_a_minimum_that_is_not_known_well_makes_frequencies_that_are_not():
    """With the gradient off by s, the minimum is off by s / k, and the curvature by f s / k, f the third derivative."""
    surface, centre = Morse(), hydrogen(LENGTH)
    points = [surface(hydrogen(each)) for each in (LENGTH, LENGTH - 0.09, LENGTH + 0.09)]
    model = Model.fit(points, np.array(centre.coordinates), Morse.hessian(centre))
    mean, off = np.array([0, 0, 0.7 / 2, -1.5 / 6, 0]), np.array([0, 1e-4, 0, 0, 0])
    found = vibrations(replace(model, mean=mean, samples=np.stack([mean + off, mean - off])), np.zeros(1), MASSES)
    expected = 1.5 * 1e-4 / 0.7 / (2 * 0.7) * found.wavenumbers[0]
    assert found.errors[0] == pytest.approx(expected, rel=1e-3)
