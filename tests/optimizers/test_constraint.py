"""The largest length of a change, and whether a schedule shortens it."""

import pytest
import torch

from qmcnet import FermiNet, Kfac, Molecule, Spring
from qmcnet.states.natural import Natural


def lengths(make, scales, **settings):
    """Length of one change of the same wavefunction with each scale of the rate."""
    positions = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    energies = positions.square().sum((-1, -2))[:, None]
    found = []
    for scale in scales:
        ansatz = FermiNet(
            Molecule.atom("He"), n_layers=1, hidden_one=8, hidden_two=4, n_determinants=1, dtype=torch.float64
        )
        ensemble = Natural().ensemble(ansatz)
        row = make(ensemble, norm_constraint=1e-10, **settings).update(positions, energies, scale)
        found.append(float(row["update_norm"]))
    return found


@pytest.mark.parametrize("make", [Spring, Kfac])
def test_a_long_direction_is_cut_to_a_length_that_follows_the_rate_where_it_is_told_to(make):
    fixed = lengths(make, (1.0, 0.25))
    follows = lengths(make, (1.0, 0.25, 0.0), constraint_follows_rate=True)
    assert fixed[1] == pytest.approx(fixed[0], rel=1e-9)
    assert follows == pytest.approx([fixed[0], 0.25 * fixed[0], 0.0], rel=1e-9, abs=0)
    assert fixed[0] > 0


def test_a_short_direction_is_as_long_as_the_rate_says():
    short = {"learning_rate": 1e-9, "constraint_follows_rate": True}
    first, second = lengths(Spring, (1.0, 0.25), **short)
    assert second == pytest.approx(0.25 * first, rel=1e-9)
    assert 0 < first < 1e-5
