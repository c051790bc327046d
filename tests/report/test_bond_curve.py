import math

import numpy as np
import pytest

from qmcnet.report.bond_curve import ELECTRON_MASSES, WAVENUMBERS, constants, fit_bond_curve
from qmcnet.system.molecule import Molecule

DEPTH, STEEPNESS, LENGTH = 0.1745, 1.03, 1.401
MASSES = (1.00782503, 1.00782503)
WAVENUMBER = math.sqrt(2 * DEPTH * STEEPNESS**2 / (MASSES[0] / 2 * ELECTRON_MASSES)) * WAVENUMBERS
LENGTHS = [1.0, 1.15, 1.3, 1.45, 1.6, 1.8, 2.1]


def morse(lengths):
    return DEPTH * (1 - np.exp(-STEEPNESS * (np.asarray(lengths) - LENGTH))) ** 2 - 1 - DEPTH


def test_constants_of_a_morse_curve():
    curve = fit_bond_curve(LENGTHS, morse(LENGTHS), [1e-6] * 7, MASSES)
    assert curve.bond_length["value"] == pytest.approx(LENGTH, abs=1e-4)
    assert curve.wavenumber["value"] == pytest.approx(WAVENUMBER, rel=1e-3)
    assert curve.energy["value"] == pytest.approx(-1 - DEPTH, abs=1e-6)
    np.testing.assert_allclose(curve(np.array(LENGTHS)), morse(LENGTHS), atol=1e-5)


def test_errors_are_those_of_repeated_measurements():
    random, error = np.random.default_rng(0), 3e-4
    curves = [
        fit_bond_curve(LENGTHS, morse(LENGTHS) + error * random.normal(size=7), [error] * 7, MASSES) for _ in range(60)
    ]
    degree = {len(curve.coefficients) for curve in curves}
    assert min(degree) == 4  # a parabola does not do
    own = [curve for curve in curves if len(curve.coefficients) == 4]
    for figure in ("bond_length", "wavenumber", "energy"):
        values = np.array([getattr(curve, figure)["value"] for curve in own])
        stated = np.median([getattr(curve, figure)["error"] for curve in own])
        assert values.std() == pytest.approx(stated, rel=0.4)  # of 60, whose own scatter is a tenth


def test_the_degree_is_the_lowest_that_agrees():
    found = {error: fit_bond_curve(LENGTHS, morse(LENGTHS), [error] * 7, MASSES) for error in (1e-2, 1e-4, 1e-6)}
    degrees = [len(curve.coefficients) - 1 for curve in found.values()]
    assert degrees[0] == 2
    assert degrees == sorted(degrees)
    assert degrees[-1] > 3


@pytest.mark.parametrize("lengths", [[1.3, 1.5], [0.9, 1.1, 1.3], [1.5, 1.7, 2.0]])
def test_a_minimum_that_is_not_inside_is_not_guessed(lengths):
    assert fit_bond_curve(lengths, morse(lengths), [1e-4] * len(lengths), MASSES) is None


def test_the_depth_is_measured_from_the_exact_energies_of_the_atoms():
    curve = fit_bond_curve(LENGTHS, morse(LENGTHS), [1e-6] * 7, MASSES)
    lines = constants(curve, Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 1.4]]))
    assert [line.split()[0] for line in lines] == ["r_e", "omega_e", "D_e"]
    assert lines[2].split()[1].startswith("174.5")
