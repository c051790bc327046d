from dataclasses import replace

import numpy as np
import pytest
from geometry.surfaces import LENGTH, STIFFNESS, WATER, Morse, Springs, hydrogen

from qmcnet.chemistry.masses import isotope_mass
from qmcnet.geometry.coordinates import internal_directions
from qmcnet.geometry.frequencies import harmonic, vibrations
from qmcnet.geometry.model import Model
from qmcnet.geometry.point import own_error, scatter
from qmcnet.report.forces import left_out

PROTON = isotope_mass("H")
MASSES = np.array([PROTON, PROTON])
WATER_MASSES = np.array([isotope_mass(symbol) for symbol in "OHH"])
PER_ATOMIC_UNIT = 219474.6313632 / np.sqrt(1822.888486209)
"""1/cm in the root of a hartree/bohr^2 over an atomic mass unit."""
MEASURED = 10.0
"""Stiffness with which carried networks are pulled back, over the distance of their energies, in 1/bohr^2."""
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


def test_forces_that_pull_carried_networks_back_make_no_bond_stiffer():
    """With what is off drawn as the model expects, of 40 chi^2 is 40 +- 9; without it they are 1.8 errors too stiff."""
    distance, found, centre = 1e-2, [], hydrogen(LENGTH)
    constant, reach = 2 * STIFFNESS, 0.2
    for seed in range(40):
        common, pull, *own = np.random.default_rng(seed + 500).standard_normal(8)
        pull = MEASURED * (1 + pull)
        points = []
        for place, one, other in zip((0, -reach, reach), own[:3], own[3:], strict=True):
            off = (left_out(distance, constant) * common + own_error(distance, constant) * one) / np.sqrt(2)
            surface = Morse(5e-4, 1e-4, distance, off, 10 * seed + len(points), pull * distance / 2)
            each = surface(hydrogen(LENGTH + place))
            points.append(replace(each, energy=each.energy + distance + scatter(distance) * other))
        model = Model.fit(points, np.array(centre.coordinates), Morse.hessian(centre))
        found.append(vibrations(model, model.minimum(np.zeros(1)), MASSES))
    off = np.array([(each.wavenumbers[0] - EXACT) / each.errors[0] for each in found])
    assert abs(off.mean()) < 0.8
    assert 40 - 3.5 * 9 < (off**2).sum() < 40 + 3.5 * 9
    assert np.mean([each.errors[0] for each in found]) < 0.12 * EXACT


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
