"""Local energies of complex wavefunctions in closed form."""

import pytest
import torch
from evaluating import Formula, local_energy

from qmcnet.ansatz import FermiNet, LapNet
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import LocalEnergy
from qmcnet.stages.fetch import fetch
from qmcnet.stages.stage import summarize
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE, COMPLEX = torch.float64, torch.complex128
BACKENDS = {"forward": ForwardLaplacian(), "torch_func": TorchFuncLaplacian()}
each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
HYDROGEN, LIH = Molecule.atom("H"), Molecule.diatomic("Li", "H", 3.015, "bohr")


def points(n_electrons, n_walkers=10):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_walkers, n_electrons, 3, dtype=DOUBLE, generator=generator)


def determinant(*orbitals, molecule=HYDROGEN):
    """Slater determinant of functions of the coordinates x, y, z."""

    def psi(positions):
        x, y, z = (positions[..., i] for i in range(3))
        columns = [orbital(x, y, z) for orbital in orbitals]
        return torch.linalg.slogdet(torch.stack(columns, -1))

    return Formula(psi, molecule)


def distance(x, y, z):
    return torch.sqrt(x * x + y * y + z * z)


def assert_constant(energies, expected):
    assert energies.dtype == COMPLEX
    torch.testing.assert_close(energies, torch.full_like(energies, expected), rtol=0, atol=1e-10)


EIGENSTATES = {
    "2p m=+1": lambda x, y, z: torch.complex(x, y) * torch.exp(-0.5 * distance(x, y, z)),
    "2p m=-1": lambda x, y, z: torch.complex(x, -y) * torch.exp(-0.5 * distance(x, y, z)),
    "2s + 2p": lambda x, y, z: (
        ((2 - distance(x, y, z)) * (1 + 2j) + torch.complex(0.3 * x, z)) * torch.exp(-0.5 * distance(x, y, z))
    ),
}


@each_backend
@pytest.mark.parametrize("orbital", EIGENSTATES)
def test_the_second_shell_of_hydrogen_has_no_variance(backend, orbital):
    psi, positions = determinant(EIGENSTATES[orbital]), points(1)
    local = local_energy(psi, positions, backend)
    assert_constant(local.total, -1 / 8)
    assert local.kinetic.real.std() > 0.1
    phase, log_abs = psi(positions)
    assert phase.is_complex()
    assert log_abs.dtype == DOUBLE


@each_backend
@pytest.mark.parametrize(("omega", "sign"), [(0.6, 1), (1.3, -1)])
def test_fermions_in_a_trap_have_no_variance(backend, omega, sign):
    def gaussian(x, y, z):
        return torch.exp(-0.5 * omega * (x * x + y * y + z * z))

    orbitals = [
        lambda x, y, z: torch.complex(gaussian(x, y, z), 0.4 * gaussian(x, y, z)),
        lambda x, y, z: torch.complex(x, sign * y) * gaussian(x, y, z),
        lambda x, y, z: torch.complex(z, 0.2 * x) * gaussian(x, y, z),
        lambda x, y, z: torch.complex(x * z, sign * y * z) * gaussian(x, y, z),
    ]
    positions = points(4)
    energies = local_energy(determinant(*orbitals, molecule=LIH), positions, backend).kinetic
    assert_constant(energies + 0.5 * omega**2 * positions.square().sum((-2, -1)), (1.5 + 2.5 + 2.5 + 3.5) * omega)


@each_backend
def test_a_wave_packet_in_closed_form(backend):
    """Of exp(i k.r - a r^2): -1/2 (-6 a + (i k - 2 a r)^2)."""
    k, a = torch.tensor([0.7, -1.1, 0.4], dtype=DOUBLE), 0.35

    def packet(x, y, z):
        phase = k[0] * x + k[1] * y + k[2] * z
        return torch.complex(torch.cos(phase), torch.sin(phase)) * torch.exp(-a * (x * x + y * y + z * z))

    positions = points(1)
    r = positions[:, 0]
    energies = local_energy(determinant(packet), positions, backend).kinetic
    real = 3 * a - 2 * a**2 * r.square().sum(-1) + 0.5 * k.square().sum()
    torch.testing.assert_close(energies, torch.complex(real, 2 * a * r @ k), rtol=1e-11, atol=1e-11)


@each_backend
def test_a_complex_factor_changes_no_energy(backend):
    real = determinant(lambda x, y, z: torch.exp(-1.3 * distance(x, y, z)))
    turned = determinant(lambda x, y, z: torch.exp(-1.3 * distance(x, y, z)) * (0.6 - 0.8j))
    expected, local = (local_energy(psi, points(1), backend) for psi in (real, turned))
    assert expected.total.dtype == DOUBLE
    torch.testing.assert_close(local.total, expected.total.to(COMPLEX), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("jastrow", ["cusp", "none"])
def test_back_ends_give_equal_energies_to_networks(jastrow):
    sizes = {"n_layers": 1, "n_heads": 2, "head_size": 4, "n_determinants": 2}
    psi = LapNet(LIH, **sizes, jastrow=jastrow, complex=True, dtype=DOUBLE)
    forward, reference = (local_energy(psi, points(4, 3), b) for b in BACKENDS.values())
    assert forward.total.dtype == COMPLEX
    assert forward.total.imag.abs().min() > 1e-3
    torch.testing.assert_close(forward.total, reference.total, rtol=1e-9, atol=1e-9)


@each_backend
def test_energies_of_single_precision_networks_are_in_double_precision(backend):
    single, double = (
        FermiNet(LIH, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, complex=True, dtype=dtype)
        for dtype in (torch.float32, DOUBLE)
    )
    double.load_state_dict(single.state_dict())
    positions = points(4).float()
    local = local_energy(single, positions, backend)
    expected = local_energy(double, positions.double(), backend)
    assert local.kinetic.dtype == local.total.dtype == COMPLEX
    error = (local.kinetic - expected.kinetic).abs() / (1 + expected.kinetic.abs())
    assert 0 < error.median() < 1e-4


def test_people_see_real_parts():
    kinetic = torch.tensor([1 + 2j, 3 - 1j], dtype=COMPLEX)[:, None, None]
    one = torch.ones_like(kinetic)
    energy = LocalEnergy({"kinetic": kinetic, "attraction": -one, "repulsion": 1.5 * one}, one)
    assert energy.total.tolist() == [1.5 + 2j, 3.5 - 1j]
    assert energy.potential.tolist() == [0.5, 0.5]
    (row,) = fetch([summarize(energy)])
    assert {name: row[name] for name in ("energy", "state_0", "kinetic", "potential", "minimum", "variance")} == {
        "energy": 2.5,
        "state_0": 2.5,
        "kinetic": 2.0,
        "potential": 0.5,
        "minimum": 1.5,
        "variance": 1.0,
    }


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
def test_the_trace_of_complex_states_is_the_energy_of_their_determinant(backend, second_derivatives):
    sizes = {"n_layers": 1, "hidden_one": 6, "hidden_two": 4, "n_determinants": 2}
    network = FermiNet(Molecule.atom("He"), **sizes, n_states=2, complex=True, dtype=DOUBLE).requires_grad_(False)
    total, positions = NaturalStates(network), points(4, 5)
    local = local_energy(total, positions, backend)

    def log_psi(r):
        sign, log_abs = total(r)
        return log_abs + 1j * sign.angle()

    found = second_derivatives(log_psi, positions)
    expected = -0.5 * (found.laplacian + found.gradient.square().sum((-2, -1)))
    torch.testing.assert_close(local.kinetic, expected, rtol=1e-8, atol=1e-8)
    assert local.total.imag.abs().min() > 1e-3
    trace = local.matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(trace, local.total, rtol=1e-9, atol=1e-9)
