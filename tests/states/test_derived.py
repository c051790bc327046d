"""Multiplicities and oscillator strengths against values known by hand."""

import math

import numpy as np
import pytest

from qmcnet.states.derived import multiplicity, oscillator_strengths


@pytest.mark.parametrize(
    ("s_squared", "name"),
    [
        (0.0, "singlet"),
        (-0.01, "singlet"),
        (0.75, "doublet"),
        (2.0, "triplet"),
        (3.75, "quartet"),
        (6.0, "quintet"),
        (8.75, "sextet"),
        (12.0, "septet"),
        (15.75, "octet"),
        (20.0, "nonet"),
        (24.75, "10"),
        (30.0, "11"),
    ],
)
def test_pure_spins_have_a_name(s_squared, name):
    for error in (0.0, 0.02, math.nan):
        n_electrons = 11 if round(4 * s_squared) % 8 in (3, 7) else 12
        assert multiplicity(s_squared, error, n_electrons) == name
        assert multiplicity(s_squared + 0.05, error, n_electrons) == name


@pytest.mark.parametrize(("s_squared", "n_electrons"), [(0.75, 2), (3.75, 4), (0.0, 1), (2.0, 3)])
def test_spins_of_the_wrong_parity_are_mixtures(s_squared, n_electrons):
    assert multiplicity(s_squared, 0.01, n_electrons) == "mixed"


@pytest.mark.parametrize(
    ("s_squared", "error", "name"),
    [
        (0.3, 0.01, "mixed"),
        (1.0, 0.0, "mixed"),
        (1.0, math.nan, "mixed"),
        (1.8, 0.01, "mixed"),
        (1.8, 0.05, "triplet"),
        (-0.2, 0.0, "mixed"),
        (-0.2, 0.05, "singlet"),
        (1.0, 0.31, "unclear"),
        (0.1, 1.0, "unclear"),
        (math.nan, math.nan, "unclear"),
        (6.0, 0.01, "mixed"),
    ],
)
def test_what_lies_between_is_mixed_but_for_its_error(s_squared, error, name):
    assert multiplicity(s_squared, error, 2) == name


def hydrogen():
    """Energies of 1s, 2s, 2p, and dipoles <1s|z|2pz> = 2^7 sqrt(2) / 3^5 and <2s|z|2pz> = -3."""
    energy = np.array([-0.5, -0.125, -0.125, -0.125, -0.125])
    dipole = np.zeros((3, 5, 5))
    for axis in range(3):
        dipole[axis, 0, 2 + axis] = dipole[axis, 2 + axis, 0] = 2**7 * math.sqrt(2) / 3**5
        dipole[axis, 1, 2 + axis] = dipole[axis, 2 + axis, 1] = -3
    return energy, dipole


def test_the_lyman_alpha_line_of_hydrogen():
    strengths = oscillator_strengths(*hydrogen())
    np.testing.assert_allclose(strengths, [0, 0] + [2**13 / 3**9 / 3] * 3, rtol=1e-14)
    assert strengths.sum() == pytest.approx(0.41620, abs=1e-5)


def test_norms_of_the_eigenvectors_do_not_matter():
    energy, dipole = hydrogen()
    norms = np.array([1e3, 1.0, -2.0, 1e-4, 7.0])
    scaled = dipole * norms / norms[:, None]
    assert np.abs(scaled - dipole).max() > 1
    np.testing.assert_allclose(oscillator_strengths(energy, scaled), oscillator_strengths(energy, dipole), rtol=1e-12)


def test_strengths_are_real_also_of_complex_eigenvectors():
    energy, dipole = hydrogen()
    phases = np.exp(1j * np.arange(5))
    strengths = oscillator_strengths(energy, dipole * phases / phases[:, None])
    assert strengths.dtype == np.float64
    np.testing.assert_allclose(strengths, oscillator_strengths(energy, dipole), atol=1e-14)
