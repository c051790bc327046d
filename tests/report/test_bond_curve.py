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


@pytest.mark.parametrize("lengths", [LENGTHS, [1.2, 1.3, 1.4, 1.5, 1.7]])
@pytest.mark.parametrize("error", [1e-3, 2e-4, 5e-5])
def test_errors_cover_noise_and_what_the_polynomial_leaves_out(lengths, error):
    noise = error * np.random.default_rng(0).normal(size=(40, len(lengths)))
    curves = [fit_bond_curve(lengths, morse(lengths) + each, [error] * len(lengths), MASSES) for each in noise]
    for name, exact in (("bond_length", LENGTH), ("wavenumber", WAVENUMBER), ("energy", -1 - DEPTH)):
        figures = [getattr(curve, name) for curve in curves]
        pulls = np.array([(each["value"] - exact) / each["error"] for each in figures if each["error"]])
        assert len(pulls) > 36
        assert 0.2 < np.sqrt(np.square(pulls).mean()) < 1.6  # the lowest degree that agrees gives up to five


SPARSE = [
    [1.0, 1.4, 2.0],
    [1.35, 1.42, 2.2],
    [1.0, 1.4, 2.5, 4.0, 6.0],
    [1.2, 1.2, 1.4, 1.4, 1.6, 1.6],
    [0.9, 1.39, 1.42, 3.0],
]


@pytest.mark.parametrize("lengths", SPARSE)
@pytest.mark.parametrize("error", [5e-4, 1e-6])
def test_errors_cover_what_few_or_distant_points_do_not_tell(lengths, error):
    noise = error * np.random.default_rng(0).normal(size=(12, len(lengths)))
    curves = [fit_bond_curve(lengths, morse(lengths) + each, [error] * len(lengths), MASSES) for each in noise]
    for name, exact in (("bond_length", LENGTH), ("wavenumber", WAVENUMBER), ("energy", -1 - DEPTH)):
        figures = [getattr(curve, name) for curve in curves if curve]
        pulls = np.array([(each["value"] - exact) / each["error"] for each in figures])
        assert len(pulls) > 5
        assert np.sqrt(np.square(pulls).mean()) < 2  # a polynomial through the points gives up to ten thousand


def test_points_that_scatter_beyond_their_errors_stretch_those_of_the_constants():
    lengths = np.linspace(1.1, 1.8, 12)
    energies = morse(lengths) + 2e-3 * np.random.default_rng(0).normal(size=12)
    said, doubted = (fit_bond_curve(list(lengths), list(energies), [error] * 12, MASSES) for error in (2e-3, 2e-4))
    assert doubted.chi2 > 10 * doubted.freedom
    assert doubted.energy["error"] > 0.5 * said.energy["error"]


@pytest.mark.parametrize("lengths", [[1.4, 1.4, 1.8, 2.2], [1.0, 1.2, 1.4, 1.4]])
def test_a_minimum_at_an_end_where_there_are_two_points_is_not_inside(lengths):
    energies = morse(lengths) - 1e-5 * np.arange(len(lengths)) * np.isclose(lengths, 1.4)
    assert fit_bond_curve(lengths, list(energies), [1e-5] * 4, MASSES) is None


@pytest.mark.parametrize("lengths", [[1.3, 1.5], [0.9, 1.1, 1.3], [1.5, 1.7, 2.0]])
def test_a_minimum_that_is_not_inside_is_not_guessed(lengths):
    assert fit_bond_curve(lengths, morse(lengths), [1e-4] * len(lengths), MASSES) is None


def test_a_minimum_that_errors_do_not_tell_is_not_shown():
    lengths, energies = [1.32, 1.40, 1.51], [-1.1555, -1.1594, -1.1569]
    assert fit_bond_curve(lengths, energies, [8e-3] * 3, MASSES) is None
    assert fit_bond_curve(lengths, energies, [1e-4] * 3, MASSES).bond_length["error"] < 0.01


def test_the_depth_is_measured_from_the_exact_energies_of_the_atoms():
    curve = fit_bond_curve(LENGTHS, morse(LENGTHS), [1e-6] * 7, MASSES)
    lines = constants(curve, Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 1.4]]))
    assert [line.split()[0] for line in lines] == ["r_e", "omega_e", "D_e"]
    assert lines[2].split()[1].startswith("174.5")
    nitrogen = Molecule.from_atoms([["N", 0, 0, 0], ["N", 0, 0, 2]])
    depths = []
    for molecule in (nitrogen, nitrogen.with_ecp("ccecp")):
        depths.append(float(constants(curve, molecule)[2].split()[1].partition("(")[0]))
    assert depths[1] - depths[0] == pytest.approx(2 * 1e3 * (54.5892 - 9.766), abs=0.1)  # the energies of two atoms
    assert len(constants(curve, nitrogen.with_ecp("bfd"))) == 2


def test_errors_of_the_atoms_are_in_that_of_the_depth():
    curve = fit_bond_curve(LENGTHS, morse(LENGTHS), [1e-6] * 7, MASSES)
    line = constants(curve, Molecule.from_atoms([["N", 0, 0, 0], ["N", 0, 0, 2]]))[2]
    assert "(21)" in line  # the energy of N is known to 0.1 mHa, both atoms are off by the same, and errors round up
    assert line.endswith("to the known energies of the atoms (estimate)")
    mixed = constants(curve, Molecule.from_atoms([["C", 0, 0, 0], ["O", 0, 0, 2]]))[2]
    assert "(15)" in mixed  # 0.14 mHa, rounded up
    assert constants(curve, Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 2]]))[2].endswith(
        "exact energies of the atoms"
    )
