import math

import pytest
import torch

from qmcnet.chemistry.harmonics import solid_harmonics
from qmcnet.operators.spheres import legendre, rotations, sphere_rule

DOUBLE = torch.float64


def turned(count, seed=0):
    return rotations(torch.randn(count, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize(("degree", "count"), [(1, 2), (3, 6), (5, 12), (7, 26), (11, 50), (17, 110)])
def test_rules_integrate_harmonics_exactly_to_their_degree_and_no_further(degree, count):
    directions, weights = sphere_rule(degree)
    assert len(directions) == len(weights) == count
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(count, dtype=DOUBLE), rtol=0, atol=1e-12)
    assert weights.sum().item() == pytest.approx(1, abs=1e-12)
    axes = turned(7)[:, 0]
    found = (weights[:, None] * legendre(directions @ axes.T, degree + 2).movedim(-1, 0)).sum(1)  # (l, axis)
    assert found[1 : degree + 1].abs().max() < 1e-11
    beyond = legendre(directions @ axes.T, degree + 4)[..., degree + 1 :]
    assert (weights[:, None, None] * beyond).sum(0).abs().max() > 1e-3


def test_the_icosahedron_integrates_products_of_harmonics_of_a_degree_up_to_five():
    directions, weights = sphere_rule(5)
    values = solid_harmonics(directions.T[:, None], 2)[:, 0]  # (9, 12): products have degrees up to 4
    torch.testing.assert_close(
        (values * weights) @ values.T * 4 * math.pi, torch.eye(9, dtype=DOUBLE), rtol=0, atol=1e-12
    )


def test_there_is_no_rule_of_any_degree():
    with pytest.raises(ValueError, match="degree=4: there is no Lebedev rule of it"):
        sphere_rule(4)


def test_random_rotations_are_rotations_and_favour_no_direction():
    count = 4000
    found = turned(count)
    torch.testing.assert_close(found @ found.mT, torch.eye(3, dtype=DOUBLE).expand(count, 3, 3), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(count, dtype=DOUBLE), rtol=0, atol=1e-12)
    # Each entry of a uniform rotation has mean 0 and mean square 1/3; of its products, the first moments of rows.
    error = (1 / 3 / count) ** 0.5
    assert found.mean(0).abs().max() < 4.5 * error
    assert (found.square().mean(0) - 1 / 3).abs().max() < 4.5 * (4 / 45 / count) ** 0.5


def test_legendre_polynomials_are_those_in_closed_form():
    x = torch.linspace(-1, 1, 11, dtype=DOUBLE)
    expected = torch.stack([torch.ones_like(x), 3 * x, 5 * (3 * x**2 - 1) / 2, 7 * (5 * x**3 - 3 * x) / 2], -1)
    for count in range(5):
        torch.testing.assert_close(legendre(x, count) if count else x[:, None][:, :0], expected[:, :count])
