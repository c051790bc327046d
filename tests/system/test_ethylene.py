import math

import pytest
import torch

from qmcnet.system.ethylene import turned_ethylene

# Carbons along x; the first CH2 group in the xz plane.
PLANAR = [["C", -1, 0, 0], ["C", 1, 0, 0], ["H", -2, 0, -1], ["H", -2, 0, 1], ["H", 2, 0, -1], ["H", 2, 0, 1]]


def nuclei(tau, phi, units="bohr"):
    return turned_ethylene(PLANAR, tau, phi, units).nuclei


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_no_angles_change_nothing():
    assert torch.equal(nuclei(0, 0), vector(*[row[1:] for row in PLANAR]))


@pytest.mark.parametrize("tau", [0.0, 35.0, 90.0, 180.0])
@pytest.mark.parametrize("phi", [0.0, 20.0, -70.0])
def test_one_group_turns_as_a_whole(tau, phi):
    turned = nuclei(tau, phi)
    assert torch.equal(turned[:4], nuclei(0, 0)[:4])
    torch.testing.assert_close(torch.pdist(turned[[1, 4, 5]]), torch.pdist(nuclei(0, 0)[[1, 4, 5]]), rtol=1e-12, atol=0)


def test_torsion_is_the_angle_of_the_planes():
    turned = nuclei(35.0, 0.0)
    first, second = turned[3] - turned[2], turned[5] - turned[4]
    assert torch.dot(first, second) / first.norm() / second.norm() == pytest.approx(math.cos(math.radians(35)))
    assert turned[5, 1] < 0 < turned[4, 1]


def test_pyramidalization_is_the_angle_of_bond_and_plane():
    turned = nuclei(90.0, 20.0)
    bisector = turned[4:].mean(0) - turned[1]
    torch.testing.assert_close(bisector, vector(math.cos(math.radians(20)), 0.0, math.sin(math.radians(20))))
    torch.testing.assert_close(turned[4] - turned[5], vector(0.0, 2.0, 0.0), rtol=0, atol=1e-12)


def test_units_and_spin():
    assert nuclei(0, 0, "angstrom")[1, 0] == pytest.approx(1.8897261)
    assert turned_ethylene(PLANAR, 0, 0, "bohr", charge=1, spin=1).formula == "C2H4+"
