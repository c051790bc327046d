import pytest
import torch
from evaluating import Formula, local_energy, states_of

from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators.kinetic import Kinetic
from qmcnet.protocols import Derivatives
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
each_backend = pytest.mark.parametrize("backend", [ForwardLaplacian(), TorchFuncLaplacian()])


@pytest.fixture
def positions():
    return torch.randn(6, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


def kinetic_energy(log_abs, positions, backend):
    """Evaluate that of a positive function of three electrons from its logarithm."""
    network = Formula(lambda x: (torch.ones(x.shape[0]).double(), log_abs(x)), LITHIUM)
    return local_energy(network, positions, backend).kinetic


@each_backend
@pytest.mark.parametrize("omega", [0.5, 1.7])
def test_harmonic_oscillator(backend, omega, positions):
    kinetic = kinetic_energy(lambda x: -0.5 * omega * x.square().sum((1, 2)), positions, backend)
    potential = 0.5 * omega**2 * positions.square().sum((1, 2))
    assert (kinetic + potential).tolist() == pytest.approx([1.5 * omega * 3] * 6, rel=1e-12)


@each_backend
def test_parabolas_in_a_box(backend, positions):
    inside = torch.sigmoid(positions)
    kinetic = kinetic_energy(lambda x: torch.log((x * (1 - x)).abs()).sum((1, 2)), inside, backend)
    # psi = prod x (1 - x): each coordinate adds -psi'' / 2 psi = 1 / (x (1 - x)).
    expected = (1 / (inside * (1 - inside))).sum((1, 2))
    torch.testing.assert_close(kinetic, expected, rtol=1e-11, atol=0)


def test_energies_are_in_double_precision():
    gradient = torch.full((1, 1, 1, 3), 1 + 2**-20, dtype=torch.float32)

    def backend(function, positions):
        value, sign = function(positions)
        return Derivatives(value, gradient, torch.full((1, 1), -3.0), sign)

    network = Formula(lambda x: (torch.ones(len(x)), torch.zeros(len(x))), Molecule.atom("H"))
    states = states_of(network, torch.zeros(1, 1, 3), backend)
    energy = Kinetic()(states)
    assert energy.shape == (1, 1, 1)
    assert energy.dtype == DOUBLE
    assert energy.item() == pytest.approx(-0.5 * (3 * (1 + 2**-20) ** 2 - 3), rel=1e-12)
