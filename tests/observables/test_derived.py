import math

import numpy as np
import pytest

from qmcnet.observables.derived import multiplicity, oscillator_strengths


@pytest.mark.parametrize(
    ("s_squared", "error", "expected"),
    [
        (0.0, 0.0, "singlet"),
        (-0.02, 0.01, "singlet"),
        (0.751, math.nan, "doublet"),
        (2.06, 0.001, "triplet"),
        (3.75, 0.0, "quartet"),
        (20.0, 0.0, "nonet"),
        (24.75, 0.0, "10"),
        (1.0, 0.01, "mixed"),
        (2.2, 0.01, "mixed"),
        (2.2, 0.04, "triplet"),
        (-0.5, 0.0, "mixed"),
    ],
)
def test_multiplicities_are_named_where_the_spin_is_sharp(s_squared, error, expected):
    assert multiplicity(s_squared, error) == expected


def test_strengths_do_not_depend_on_the_norms_of_the_states():
    moment = np.random.default_rng(0).normal(size=(3, 4, 4))
    moment = moment + moment.swapaxes(-1, -2)
    energy, norms = np.array([-1.0, -0.4, -0.3, 0.0]), np.array([1.0, -2.0, 0.1, 5.0])
    found = oscillator_strengths(energy, moment * norms / norms[:, None])
    expected = [2 / 3 * (e - energy[0]) * (moment[:, 0, j] ** 2).sum() for j, e in enumerate(energy)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 0
