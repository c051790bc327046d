"""Natural occupations on their way from local matrices to the result."""

from functools import partial

import numpy as np
import pytest

from qmcnet.operators.natural_orbitals import NaturalOrbitals
from qmcnet.states.spectrum import figures
from qmcnet.statistics.jackknife import jackknife


def sums(density, n_groups, noise):
    """Sums over groups of ten samples of one state: the up and the down density matrix, energy and kinetic energy."""
    generator = np.random.default_rng(3)
    samples = np.stack([density, density]) + noise * generator.normal(size=(n_groups, 2, *density.shape))
    one = np.ones((n_groups, 1, 1, 1))
    counts = np.full(n_groups, 10.0)
    local = {"natural_orbitals": samples.reshape(n_groups, -1, 1, 1), "energy": -one, "kinetic": one}
    totals = {name: 10 * values for name, values in local.items()}
    return totals | {"count": counts, "count of natural_orbitals": counts, "count of kinetic": counts}


def occupations(groups):
    found, errors = NaturalOrbitals.report(groups[:, 0])
    return found.reshape(3, -1), errors.reshape(3, -1)


@pytest.mark.parametrize("n_groups", [1, 4, 32])
def test_a_complex_density_matrix_keeps_its_imaginary_part(n_groups):
    # The real part of this matrix has the occupations 0.5 and 0.5.
    density = np.array([[0.5, 0.4j], [-0.4j, 0.5]])
    names = {"natural_orbitals": occupations}
    values, errors = jackknife(partial(figures, kept_complex=names), sums(density, n_groups, 1e-4), names)
    expected = np.array([[0.9, 0.1], [0.9, 0.1], [1.8, 0.2]])
    assert values["natural_orbitals"] == pytest.approx(expected, abs=1e-3)
    assert values["energy"].dtype == float
    assert np.isfinite(errors["natural_orbitals"]).all() == (n_groups > 2)
    assert np.isfinite(errors["virial_ratio"]).all() == (n_groups > 1)


def test_groups_stand_for_themselves_in_what_is_linear():
    density = np.diag([1.0, 0.3])
    given = sums(density, 8, 0.1)
    seen = []

    def report(groups):
        seen.append(groups)
        return groups.mean(0), groups.std(0)

    jackknife(partial(figures, kept_complex={"natural_orbitals"}), given, {"natural_orbitals": report})
    assert seen[0][:, 0] == pytest.approx(given["natural_orbitals"][:, :, 0, 0] / 10)
