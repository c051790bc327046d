"""The total ansatz of several states: what it is, its antisymmetry, and that only the span of the states counts."""

import math

import pytest
import torch
from torch import nn

from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
S = 3


@pytest.fixture
def network(moved, ansatz):
    return moved(ansatz, LITHIUM, S)


@pytest.fixture
def positions():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, S * LITHIUM.n_electrons, 3, dtype=DOUBLE, generator=generator)


def assert_same(result, expected, **tolerance):
    for value, other in zip(result, expected, strict=True):
        torch.testing.assert_close(value, other, **(tolerance or {"rtol": 1e-10, "atol": 1e-10}))


def test_psi_is_the_determinant_of_all_states_at_all_points(network, positions):
    sign, log_abs_psi = NaturalStates(network)(positions)
    assert sign.shape == log_abs_psi.shape == (6,)
    for walker in range(6):
        matrix = torch.empty(S, S, dtype=DOUBLE)
        for i, point in enumerate(positions[walker].split(LITHIUM.n_electrons)):
            point_sign, point_log = network(point[None], LITHIUM.nuclei)
            matrix[i] = point_sign[0] * point_log[0].exp()
        assert (sign * log_abs_psi.exp())[walker].item() == pytest.approx(torch.linalg.det(matrix).item(), rel=1e-9)
    assert set(sign.tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(("i", "j"), [(0, 1), (0, 2), (1, 2)])
def test_exchange_of_two_points_flips_the_sign(network, positions, i, j):
    total, points = NaturalStates(network), positions.unflatten(1, (S, -1)).clone()
    points[:, [i, j]] = points[:, [j, i]]
    sign, log_abs_psi = total(positions)
    assert_same(total(points.flatten(1, 2)), (-sign, log_abs_psi))


@pytest.mark.parametrize("i", range(S))
def test_exchange_of_equal_spins_in_one_point_alone_flips_the_sign(network, positions, i):
    total, points = NaturalStates(network), positions.unflatten(1, (S, -1)).clone()
    points[:, i, [0, 1]] = points[:, i, [1, 0]]
    sign, log_abs_psi = total(positions)
    assert_same(total(points.flatten(1, 2)), (-sign, log_abs_psi))
    points[:, i, [0, 2]] = points[:, i, [2, 0]]
    assert (total(points.flatten(1, 2))[1] - log_abs_psi).abs().min() > 1e-3


@pytest.mark.parametrize("flip", [1, -1])
def test_mixing_the_states_multiplies_psi_by_the_determinant(network, positions, mixed, mixing, flip):
    matrix = mixing(S) * torch.tensor([1, flip, 1])
    determinant = torch.linalg.det(matrix).item()
    sign, log_abs_psi = NaturalStates(network)(positions)
    expected = sign * math.copysign(1, determinant), log_abs_psi + math.log(abs(determinant))
    assert_same(NaturalStates(mixed(network, matrix))(positions), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("power", [20, -20, 120])
def test_the_norms_of_the_states_do_not_matter(network, positions, mixed, power):
    matrix = torch.diag(torch.tensor([1.0, 10.0**power, 10.0**-power], dtype=DOUBLE))
    assert_same(NaturalStates(mixed(network, matrix))(positions), NaturalStates(network)(positions))


class Shifted(nn.Module):
    """States of which all but the first are as tiny, or as huge, as wavefunctions of many electrons are."""

    def __init__(self, network, shift):
        super().__init__()
        self.network, self.molecule, self.shift = network, network.molecule, shift

    def forward(self, positions, nuclei):
        sign, log_abs_psi = self.network(positions, nuclei)
        return sign, log_abs_psi + self.shift


@pytest.mark.parametrize("shift", [-5000.0, 5000.0])
def test_states_beyond_the_range_of_numbers_are_no_trouble(network, positions, shift):
    sign, log_abs_psi = NaturalStates(network)(positions)
    expected = sign, log_abs_psi + S * shift
    assert_same(NaturalStates(Shifted(network, shift))(positions), expected, rtol=0, atol=1e-8)


class WithoutAxis(nn.Module):
    """A network of one state that says so by having no axis of states."""

    def __init__(self, network):
        super().__init__()
        self.network, self.molecule = network, network.molecule

    def forward(self, positions, nuclei):
        sign, log_abs_psi = self.network(positions, nuclei)
        return sign.squeeze(-1), log_abs_psi.squeeze(-1)


@pytest.mark.parametrize("with_axis", [True, False])
def test_a_single_state_is_the_bare_network(moved, ansatz, with_axis, positions):
    network, points = moved(ansatz, LITHIUM, 1), positions[:, : LITHIUM.n_electrons]
    bare = network(points, LITHIUM.nuclei)
    assert bare[1].shape == (6, 1)
    total = NaturalStates(network if with_axis else WithoutAxis(network))
    assert total.n_states == 1
    assert_same(total(points), [part[:, 0] for part in bare], rtol=0, atol=1e-12)
    assert_same([total.factors(points)], [bare[1]], rtol=0, atol=1e-12)


def test_gradients_reach_every_parameter_and_are_finite(network, positions):
    network.requires_grad_(True)
    NaturalStates(network)(positions)[1].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    touched = torch.cat([parameter.grad.flatten() != 0 for parameter in network.parameters()])
    assert touched.double().mean() > 0.9


def test_points_that_coincide_have_no_weight_and_spoil_no_other_walker(network, positions):
    total, points = NaturalStates(network), positions.unflatten(1, (S, -1)).clone()
    expected = total(positions)[1]
    points[2, 0] = points[2, 1]
    log_abs_psi = total(points.flatten(1, 2))[1]
    others = [0, 1, 3, 4, 5]
    assert log_abs_psi[2] < expected[2] - 25
    torch.testing.assert_close(log_abs_psi[others], expected[others], rtol=1e-10, atol=1e-10)
