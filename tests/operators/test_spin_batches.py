import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.operators import spin
from qmcnet.operators.spin import Spin
from qmcnet.system.molecule import Molecule


class Counting(torch.nn.Module):
    """A network that counts its calls and the most points at once."""

    def __init__(self, network):
        super().__init__()
        self.network, self.molecule, self.calls, self.most = network, network.molecule, 0, 0

    def forward(self, positions, nuclei):
        self.calls, self.most = self.calls + 1, max(self.most, positions[..., 0, 0].numel())
        return self.network(positions, nuclei)


@pytest.fixture(scope="module")
def network():
    sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2, "n_states": 2}
    return FermiNet(Molecule.atom("B"), **sizes, dtype=torch.float64).requires_grad_(False)


@pytest.fixture
def counting(network):
    return Counting(network)


@pytest.fixture
def points(counting, states):
    positions = torch.randn(8, 5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return states(counting, positions)


def test_all_exchanges_are_one_evaluation_where_memory_allows(network, counting, points):
    counting.calls = counting.most = 0
    Spin(network.molecule)(points)
    assert (counting.calls, counting.most) == (1, 8 * 3 * 2)


@pytest.mark.parametrize(("most_pairs", "calls"), [(1, 6), (8 * 25, 6), (8 * 25 * 4, 2), (8 * 25 * 5 + 1, 2)])
def test_batches_are_bounded_and_do_not_change_the_result(most_pairs, calls, network, counting, points, monkeypatch):
    expected = Spin(network.molecule)(points)
    monkeypatch.setattr(spin, "MOST_PAIRS", most_pairs)
    counting.calls = 0
    found = Spin(network.molecule)(points)
    assert counting.calls == calls
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_exchanges_swap_one_electron_of_each_spin():
    found = Spin(Molecule.atom("B")).exchanges(torch.device("cpu")).tolist()
    assert sorted(found) == sorted([[{a: b, b: a}.get(i, i) for i in range(5)] for a in range(3) for b in (3, 4)])


@pytest.mark.parametrize(("symbol", "spin_"), [("H", 1), ("He", 2)])
def test_without_electrons_of_one_spin_there_is_nothing_to_exchange(symbol, spin_, states):
    molecule = Molecule.atom(symbol, spin=spin_)
    network = FermiNet(molecule, n_layers=1, hidden_one=4, hidden_two=2, n_determinants=1, dtype=torch.float64)
    positions = torch.randn(3, molecule.n_electrons, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = states(network.requires_grad_(False), positions)
    s = spin_ / 2
    torch.testing.assert_close(Spin(molecule)(found)[:, 0], s * (s + 1) * found.psi)
