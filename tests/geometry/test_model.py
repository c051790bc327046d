from dataclasses import replace

import numpy as np
import pytest
from geometry.surfaces import LENGTH, STIFFNESS, WATER, Morse, Springs, hydrogen, point, water
from geometry.test_coordinates import turned

from qmcnet.geometry.coordinates import internal_directions
from qmcnet.geometry.model import Model, spread_of
from qmcnet.geometry.point import distances
from qmcnet.geometry.polynomial import Polynomial
from qmcnet.report.forces import left_out

LENGTHS = (1.55, 1.41, 1.3, 1.5)


def length(nuclei):
    return np.linalg.norm(nuclei[..., 1, :] - nuclei[..., 0, :], axis=-1)


def fitted(surface, lengths=LENGTHS):
    centre = hydrogen(lengths[1])
    model = Model.fit(
        [surface(hydrogen(each)) for each in lengths], np.array(centre.coordinates), Morse.hessian(centre)
    )
    place = model.minimum(np.zeros(1))
    return model, place, length(model.nuclei(place)), length(model.nuclei(model.minima(place)))


def test_derivatives_of_polynomials_are_those_of_finite_differences():
    polynomial = Polynomial(np.array([0.1, 0.5, 1.0]), 0.3, np.array([0.1, 0.5, 1.0]))
    generator = np.random.default_rng(0)
    coefficients, place, step = generator.standard_normal(len(polynomial.terms)), generator.standard_normal(3), 1e-5
    shifts = step * np.eye(3)
    slopes = (polynomial.values(place + shifts) - polynomial.values(place - shifts)) @ coefficients / (2 * step)
    np.testing.assert_allclose(polynomial.gradient(place, coefficients), slopes, rtol=1e-7)
    changes = [
        polynomial.gradient(place + x, coefficients) - polynomial.gradient(place - x, coefficients) for x in shifts
    ]
    np.testing.assert_allclose(polynomial.hessian(place, coefficients), np.array(changes) / (2 * step), rtol=1e-6)


def test_expected_terms_are_those_of_a_morse_potential():
    """Along one coordinate, E = k (1 - exp(-a q))^2 / 2 a^2 has the derivatives k, -3 a k and 7 a^2 k."""
    means, widths = Polynomial(np.array([0.7]), 0.3, np.array([0.7])).expected()
    np.testing.assert_allclose(means, [0, 0, 0.35, 0, 0])
    np.testing.assert_allclose(widths[2:], 0.7 * np.array([0.3 / 2, 3 * 1.4 / 6, 7 * 1.4**2 / 24]))


def test_without_noise_the_minimum_of_a_quadratic_surface_is_found_from_one_point():
    hessian = Springs().hessian()
    inside = internal_directions(WATER)
    shift = inside @ (inside.T @ (0.1 * np.random.default_rng(3).standard_normal(9)))
    forces = -(hessian @ shift).reshape(3, 3)
    centre = WATER + shift.reshape(3, 3)
    here = internal_directions(centre) @ internal_directions(centre).T
    model = Model.fit([point(water(centre), shift @ hessian @ shift / 2, forces)], centre, here @ hessian @ here)
    step = (model.nuclei(model.minimum(np.zeros(3))) - centre).ravel()
    np.testing.assert_allclose(here @ hessian @ step, here @ forces.ravel(), atol=1e-6)
    assert np.abs(forces).max() > 0.01


def test_a_molecule_that_is_turned_has_the_same_surface():
    springs = Springs()
    straight = [springs(water(WATER + shift)) for shift in 0.1 * np.random.default_rng(4).standard_normal((3, 3, 3))]
    askew = []
    for number, each in enumerate(straight):
        nuclei = turned(each.nuclei, seed=number)
        askew.append(springs(water(nuclei)))
    first, second = (Model.fit(points, WATER, springs.hessian()).minimum(np.zeros(3)) for points in (straight, askew))
    np.testing.assert_allclose(first, second, atol=1e-7)


@pytest.mark.parametrize(("distance", "force_error"), [(0.0, 1e-3), (1e-3, 1e-3), (1e-3, 1e-4)])
def test_bond_lengths_scatter_about_the_true_one_as_their_errors_say(distance, force_error):
    """Noise, and what forces are off by, drawn as the model expects: of 40 chi^2 is 40 +- 9, but for 2e-3 bohr."""
    pulls = []
    for seed in range(40):
        off = left_out(distance, STIFFNESS) * np.random.default_rng(seed + 1000).standard_normal()
        surface = Morse(force_error, 2e-4, distance, off, seed)
        _, _, found, samples = fitted(surface)
        assert samples.std() < 0.01
        pulls.append((found - LENGTH) / samples.std())
    assert 40 - 3.5 * 9 < np.square(pulls).sum() < 40 + 3.5 * 9
    assert abs(np.mean(pulls)) < 4 / np.sqrt(40)


def test_errors_are_those_of_a_gaussian_and_do_not_follow_the_few_that_have_no_curvature():
    samples = 0.3 * np.random.default_rng(7).standard_normal((400, 2, 3))
    np.testing.assert_allclose(spread_of(lambda each: each, samples), 0.3, rtol=0.25)
    few = samples.copy()
    few[::50] = 1e3
    few[1] = np.nan
    found = spread_of(lambda each: each, few)
    np.testing.assert_allclose(found, spread_of(lambda each: each, samples), rtol=0.1)


def test_energies_correct_what_forces_leave_out():
    """Forces alone would be off by off / k, and the model says by how much they are off."""
    off = 4e-3
    exact = Morse(1e-5, 1e-6, 1e-3, off)
    points = [exact(hydrogen(each)) for each in LENGTHS]
    sure = [replace(each, error=1e-6, distance=1e-3) for each in points]
    centre = hydrogen(LENGTHS[1])
    model = Model.fit(sure, np.array(centre.coordinates), Morse.hessian(centre))
    found = length(model.nuclei(model.minimum(np.zeros(1))))
    errors = length(model.nuclei(model.minima(model.minimum(np.zeros(1))))).std()
    assert errors < off / STIFFNESS
    assert abs(found - LENGTH) < 3 * errors < off / STIFFNESS
    value, error = (abs(float(part[0])) for part in model.offset)
    assert value == pytest.approx(np.sqrt(2) * off, abs=3 * error)


def test_a_run_that_was_trained_for_longer_is_not_taken_for_a_lower_place():
    """Each energy is above the exact one by its own distance, which the shorter bonds have less of."""
    lower = Morse(1e-3, 1e-5)
    points = [lower(hydrogen(each)) for each in LENGTHS]
    distances = [2e-3, 1e-3, 2e-4, 15e-4]
    above = [replace(p, energy=p.energy + d, distance=d) for p, d in zip(points, distances, strict=True)]
    centre = hydrogen(LENGTHS[1])
    model = Model.fit(above, np.array(centre.coordinates), Morse.hessian(centre))
    place = model.minimum(np.zeros(1))
    assert abs(length(model.nuclei(place)) - LENGTH) < 3 * length(model.nuclei(model.minima(place))).std() < 0.03


def test_what_runs_say_by_chance_of_how_far_up_they_are_moves_no_structure():
    """By 0.003 bohr, less than half of its error; taken at their word they would by 0.009."""
    centre, off = hydrogen(LENGTHS[1]), []
    for seed in range(20):
        by_chance = 8e-3 * (1 + 0.17 * np.random.default_rng(seed + 2000).standard_normal(len(LENGTHS)))
        surface = Morse(2e-3, 1e-5, 8e-3)
        points = [surface(hydrogen(each)) for each in LENGTHS]
        told = [replace(each, distance=distance) for each, distance in zip(points, by_chance, strict=True)]
        found = [Model.fit(each, np.array(centre.coordinates), Morse.hessian(centre)) for each in (points, told)]
        off.append(np.subtract(*(length(model.nuclei(model.minimum(np.zeros(1)))) for model in found)))
    errors = length(found[0].nuclei(found[0].minima(np.zeros(1)))).std()
    assert np.sqrt(np.mean(np.square(off))) < 0.7 * errors < 0.007


def test_runs_that_are_not_alike_are_told_apart():
    points = [replace(point(hydrogen(1.4), 0.0, np.zeros((2, 3))), distance=each) for each in (1e-3, 4e-3, 5e-3)]
    np.testing.assert_allclose(distances(points), [1e-3, 4e-3, 5e-3], rtol=0.25)
    assert distances(points[:1]) == [1e-3]


def test_errors_of_forces_that_add_up_to_zero_are_those_of_their_difference():
    """F1 = -F2 with the variance s^2 each: the force along the bond, (F2 - F1) / sqrt(2), has 2 s^2."""
    each = point(hydrogen(1.4), 0.0, np.zeros((2, 3)), force_error=np.sqrt(2) * 0.1)
    along = np.array([0, 0, -1, 0, 0, 1]) / np.sqrt(2)
    assert along @ each.covariance @ along == pytest.approx(2 * 0.1**2)
