import itertools
import math

import pytest
import torch

from qmcnet.operators.coulomb import electron_electron, electron_nucleus

DOUBLE = torch.float64


def random(*shape):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n_electrons", [1, 2, 5])
def test_repulsion_equals_a_loop(n_electrons):
    positions = random(4, n_electrons, 3)
    expected = [
        sum(1 / math.dist(walker[i], walker[j]) for i, j in itertools.combinations(range(n_electrons), 2))
        for walker in positions.tolist()
    ]
    assert electron_electron(positions).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("n_nuclei", [1, 3])
def test_attraction_equals_a_loop(n_nuclei):
    positions, nuclei, charges = (
        random(4, 5, 3),
        2 * random(n_nuclei, 3).flip(0),
        torch.arange(1, n_nuclei + 1).double(),
    )
    expected = [
        -sum(charges[a].item() / math.dist(r, nuclei[a].tolist()) for r in walker for a in range(n_nuclei))
        for walker in positions.tolist()
    ]
    assert electron_nucleus(positions, nuclei, charges).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("side", [0.5, 2.0])
def test_electrons_on_a_tetrahedron_around_a_nucleus(side):
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=DOUBLE) * side / math.sqrt(8)
    nuclei, charges = torch.zeros(1, 3, dtype=DOUBLE), torch.tensor([6.0], dtype=DOUBLE)
    assert electron_electron(corners[None]).item() == pytest.approx(6 / side, rel=1e-13)
    radius = side * math.sqrt(3 / 8)
    assert electron_nucleus(corners[None], nuclei, charges).item() == pytest.approx(-4 * 6 / radius, rel=1e-13)


def test_coincidence_is_infinite_for_that_walker_alone():
    positions = random(3, 3, 3)
    nuclei, charges = random(2, 3), torch.ones(2, dtype=DOUBLE)
    positions[1, 2] = positions[1, 0]
    positions[2, 1] = nuclei[0]
    assert torch.isinf(electron_electron(positions)).tolist() == [False, True, False]
    assert torch.isinf(electron_nucleus(positions, nuclei, charges)).tolist() == [False, False, True]
