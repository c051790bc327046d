import itertools
import math

import pytest
import torch
from evaluating import Formula

from qmcnet.operators.coulomb import ElectronElectron, ElectronNucleus, NucleusNucleus
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64


def random(*shape):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def value(states):
    """What an operator multiplies the states of a molecule by, here psi = 1, at each point."""

    def evaluate(operator, molecule, positions):
        network = Formula(lambda x: (torch.ones(len(x)).double(), torch.zeros(len(x)).double()), molecule)
        result = operator(states(network, positions))
        assert result.shape == (len(positions), 1, 1)
        return result[:, 0, 0]

    return evaluate


@pytest.mark.parametrize("n_electrons", [1, 2, 5])
def test_repulsion_equals_a_loop(n_electrons, value):
    molecule, positions = Molecule.chain("H", n_electrons, 1.5, "bohr"), random(4, n_electrons, 3)
    expected = [
        sum(1 / math.dist(walker[i], walker[j]) for i, j in itertools.combinations(range(n_electrons), 2))
        for walker in positions.tolist()
    ]
    assert value(ElectronElectron(), molecule, positions).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("symbols", [["B"], ["H", "He", "Li"]])
def test_attraction_equals_a_loop(symbols, value):
    nuclei = 2 * random(len(symbols), 3).flip(0)
    molecule = Molecule(symbols, nuclei.tolist(), charge=len(symbols) // 3, spin=1)
    positions, charges = random(4, 5, 3), {"B": 5, "H": 1, "He": 2, "Li": 3}
    expected = [
        -sum(charges[a] / math.dist(r, nucleus) for r in walker for a, nucleus in zip(symbols, nuclei, strict=True))
        for walker in positions
    ]
    assert value(ElectronNucleus(molecule), molecule, positions).tolist() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("side", [0.5, 2.0])
def test_electrons_on_a_tetrahedron_around_a_nucleus(side, value):
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=DOUBLE) * side / math.sqrt(8)
    molecule = Molecule.atom("C", charge=2)
    assert value(ElectronElectron(), molecule, corners[None]).item() == pytest.approx(6 / side, rel=1e-13)
    attraction, radius = value(ElectronNucleus(molecule), molecule, corners[None]), side * math.sqrt(3 / 8)
    assert attraction.item() == pytest.approx(-4 * 6 / radius, rel=1e-13)


@pytest.mark.parametrize(
    ("molecule", "energy"),
    [
        (Molecule.atom("C"), 0.0),
        (Molecule.diatomic("N", "N", 2.068, "bohr"), 49 / 2.068),
        (Molecule.rectangle("H", 1.5, 2.5, "bohr"), 2 / 1.5 + 2 / 2.5 + 2 / math.hypot(1.5, 2.5)),
        (Molecule.chain("H", 4, 1.8, "bohr"), (3 / 1 + 2 / 2 + 1 / 3) / 1.8),
    ],
    ids=["C", "N2", "H4", "chain"],
)
def test_repulsion_of_the_nuclei(molecule, energy, value):
    found = value(NucleusNucleus(molecule), molecule, random(2, molecule.n_electrons, 3))
    assert found.tolist() == pytest.approx([energy] * 2, rel=1e-13)


def test_coincidence_is_infinite_for_that_walker_alone(value):
    molecule, positions = Molecule.diatomic("H", "He", 1.5, "bohr", spin=1), random(3, 3, 3)
    positions[1, 2] = positions[1, 0]
    positions[2, 1] = molecule.nuclei[0]
    assert torch.isinf(value(ElectronElectron(), molecule, positions)).tolist() == [False, True, False]
    assert torch.isinf(value(ElectronNucleus(molecule), molecule, positions)).tolist() == [False, False, True]
