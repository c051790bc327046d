"""Local energy matrices of several states, against closed forms and against one wavefunction of all copies."""

import pytest
import torch
from energies import local_energy
from qmcnet.operators.states_hamiltonian import trace
from torch import nn

from qmcnet.ansatz import FermiNet, LapNet, Psiformer
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import MolecularHamiltonian, StatesHamiltonian
from qmcnet.operators.kinetic import kinetic_energy
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
BACKENDS = {"forward": ForwardLaplacian(), "torch_func": TorchFuncLaplacian()}
HYDROGEN, LIH = Molecule.atom("H"), Molecule.diatomic("Li", "H", 3.015, "bohr")
S = 3
SMALL = {
    FermiNet: {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2, "jastrow": "cusp"},
    Psiformer: {"n_layers": 2, "n_heads": 2, "head_size": 4, "perceptron_size": 6, "n_determinants": 2},
    LapNet: {"n_layers": 2, "n_heads": 2, "head_size": 4, "n_single": 1, "n_determinants": 2},
}

each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
each_ansatz = pytest.mark.parametrize("ansatz", SMALL)
each_pair = pytest.mark.parametrize(
    ("ansatz", "backend"),
    [(FermiNet, TorchFuncLaplacian()), *((ansatz, ForwardLaplacian()) for ansatz in SMALL)],
    ids=["FermiNet-torch_func", *(f"{ansatz.__name__}-forward" for ansatz in SMALL)],
)


class OneElectron(nn.Module):
    """Eigenstates of one electron, from a function of its position."""

    def __init__(self, function, energies):
        super().__init__()
        self.function, self.energies = function, torch.tensor(energies, dtype=DOUBLE)
        self.molecule, self.settings = HYDROGEN, {"n_states": len(energies)}

    def forward(self, positions):
        return torch.linalg.slogdet(self.function(positions.squeeze(-2))[..., None, None])


def hydrogenic(r):
    """Return 1s, 2s, 2px, 2py, 2pz."""
    d = torch.linalg.vector_norm(r, dim=-1, keepdim=True)
    return torch.cat([torch.exp(-d), (1 - d / 2) * torch.exp(-d / 2), r * torch.exp(-d / 2)], -1)


def trapped(r):
    """Return the ground state, the three with one quantum, and two of those with two quanta."""
    square = r.square().sum(-1, keepdim=True)
    both = r[..., :1] * r[..., 1:2]
    return torch.cat([torch.ones_like(square), r, both, 2 * square - 3], -1) * torch.exp(-square / 2)


def harmonic(points):
    return 0.5 * points.square().sum((-2, -1)), torch.zeros(len(points), dtype=DOUBLE)


SOLVED = {
    "hydrogen": (hydrogenic, [-0.5] + [-0.125] * 4, None),
    "trap": (trapped, [1.5] + [2.5] * 3 + [3.5] * 2, harmonic),
}


def solved(name, backend, monkeypatch):
    function, energies, potential = SOLVED[name]
    hamiltonian = StatesHamiltonian(HYDROGEN, backend)
    if potential is not None:
        monkeypatch.setattr(hamiltonian, "potential", potential)
    return hamiltonian, OneElectron(function, energies)


def draw(molecule, n_states, n_walkers=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_walkers, n_states * molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)


def network(ansatz, molecule=LIH, n_states=S, dtype=DOUBLE):
    sizes = SMALL[ansatz] | ({"n_layers": 1} if ansatz is FermiNet and molecule != LIH else {})
    module = ansatz(molecule, **sizes, n_states=n_states, dtype=DOUBLE).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, dtype=DOUBLE, generator=generator))
    return module.to(dtype)


def close(value, expected, tolerance=1e-9):
    torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)


@each_backend
@pytest.mark.parametrize("name", SOLVED)
def test_eigenstates_have_their_energies_on_the_diagonal_at_every_walker(name, backend, monkeypatch):
    hamiltonian, states = solved(name, backend, monkeypatch)
    local = hamiltonian.local_energy(NaturalStates(states), draw(HYDROGEN, len(states.energies), 20))
    close(local.matrix, torch.diag(states.energies).expand_as(local.matrix))
    close(local.total, states.energies.sum().expand(20))
    assert local.kinetic.std() > 0.1


@each_backend
@pytest.mark.parametrize("name", SOLVED)
def test_mixed_eigenstates_keep_the_energies_as_eigenvalues(name, backend, monkeypatch, mixed, mixing):
    hamiltonian, states = solved(name, backend, monkeypatch)
    matrix = mixing(len(states.energies))
    local = hamiltonian.local_energy(NaturalStates(mixed(states, matrix)), draw(HYDROGEN, len(matrix), 20))
    expected = torch.linalg.solve(matrix, torch.diag(states.energies) @ matrix)
    close(local.matrix, expected.expand_as(local.matrix), 1e-8)
    assert (expected - torch.diag(states.energies)).abs().max() > 0.1
    close(torch.linalg.eigvals(local.matrix).real.sort(-1).values, states.energies.expand(20, -1), 1e-8)


@each_backend
@pytest.mark.parametrize("name", SOLVED)
def test_the_kinetic_matrix_is_what_the_potential_leaves(name, backend, monkeypatch):
    hamiltonian, states = solved(name, backend, monkeypatch)
    n_states = len(states.energies)
    positions = draw(HYDROGEN, n_states)
    local = hamiltonian.local_energy(NaturalStates(states), positions)
    psi = states.function(positions)  # (B, S, S): one electron at each point
    distance = positions.norm(dim=-1)
    potential = -1 / distance if name == "hydrogen" else distance.square() / 2
    expected = torch.diag(states.energies) - torch.linalg.inv(psi) @ (potential[..., None] * psi)
    close(local.kinetic_matrix, expected)
    close(local.electron_nucleus, potential.sum(-1))
    close(local.kinetic, states.energies.sum() - potential.sum(-1))


@each_ansatz
def test_mixing_transforms_the_matrix_and_keeps_trace_and_eigenvalues(ansatz, mixed, mixing):
    states, positions, matrix = network(ansatz), draw(LIH, S), mixing(S)
    hamiltonian = StatesHamiltonian(LIH, ForwardLaplacian())
    plain = hamiltonian.local_energy(NaturalStates(states), positions)
    local = hamiltonian.local_energy(NaturalStates(mixed(states, matrix)), positions)
    for name in ("matrix", "kinetic_matrix"):
        close(getattr(local, name), torch.linalg.solve(matrix, getattr(plain, name) @ matrix), 1e-8)
    assert (local.matrix - plain.matrix).abs().amax((1, 2)).min() > 1e-2
    close(local.total, plain.total, 1e-8)
    eigenvalues = [torch.linalg.eigvals(energy.matrix) for energy in (local, plain)]
    (first, second) = (values.real.sort(-1).values for values in eigenvalues)
    close(first, second, 1e-8)


@each_backend
@pytest.mark.parametrize("power", [-20, 60])
def test_the_norms_of_the_states_scale_elements_and_nothing_else(backend, power, mixed):
    states, positions = network(FermiNet, HYDROGEN), draw(HYDROGEN, S)
    norms = torch.tensor([10.0**power, 1.0, 10.0**-power], dtype=DOUBLE)
    hamiltonian = StatesHamiltonian(HYDROGEN, backend)
    plain = hamiltonian.local_energy(NaturalStates(states), positions)
    local = hamiltonian.local_energy(NaturalStates(mixed(states, torch.diag(norms))), positions)
    close(local.matrix * norms[:, None] / norms, plain.matrix, 1e-8)
    close(local.total, plain.total, 1e-8)


@pytest.mark.parametrize("power", [-250, 0, 250])
def test_rows_are_scaled_freely(power):
    generator = torch.Generator().manual_seed(4)
    psi, operated = (torch.randn(5, n, 4, dtype=DOUBLE, generator=generator) for n in (4, 4))
    rows = torch.tensor([10.0**power, 1.0, 1e-3, 7.0], dtype=DOUBLE)[:, None]
    expected = torch.linalg.inv(psi) @ operated
    close(NaturalStates.local_matrix(rows * psi, rows * operated), expected)
    close(trace(expected), torch.einsum("bii->b", expected))


@each_pair
def test_the_trace_is_the_local_energy_of_one_wavefunction_of_all_copies(ansatz, backend, second_derivatives):
    total, positions = NaturalStates(network(ansatz)), draw(LIH, S, 2)
    local = local_energy(total, positions, backend)
    expected = kinetic_energy(second_derivatives(lambda r: total(r)[1], positions))
    close(local.kinetic, expected, 1e-8)
    close(local.total, trace(local.matrix))
    close(local.kinetic, trace(local.kinetic_matrix))


def test_terms_are_sums_over_the_copies():
    total, positions = NaturalStates(network(FermiNet)), draw(LIH, S)
    local = local_energy(total, positions, ForwardLaplacian())
    single = MolecularHamiltonian(LIH, ForwardLaplacian())
    copies = [
        single.local_energy(network(FermiNet, n_states=1), points) for points in positions.split(LIH.n_electrons, 1)
    ]
    for name in ("electron_nucleus", "electron_electron"):
        close(getattr(local, name), sum(getattr(copy, name) for copy in copies), 1e-12)
    assert local.nucleus_nucleus == pytest.approx(S * 3 / 3.015, rel=1e-14)


@each_pair
def test_a_single_state_equals_its_ground_state_hamiltonian(ansatz, backend, one_state):
    bare, positions = network(ansatz, n_states=1), draw(LIH, 1, 3)
    local = local_energy(NaturalStates(one_state(bare)), positions, backend)
    expected = local_energy(bare, positions, backend)
    for name in ("kinetic", "electron_nucleus", "electron_electron", "total"):
        torch.testing.assert_close(getattr(local, name), getattr(expected, name), rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(local.matrix[:, 0, 0], expected.total, rtol=1e-12, atol=1e-10)
    assert expected.matrix is None
    assert local.nucleus_nucleus == expected.nucleus_nucleus


@each_backend
def test_points_that_coincide_are_reported_for_that_walker_alone(backend):
    total, positions = NaturalStates(network(FermiNet, HYDROGEN)), draw(HYDROGEN, S, 3)
    hamiltonian = StatesHamiltonian(HYDROGEN, backend)
    expected = hamiltonian.local_energy(total, positions)
    positions[1, 0] = positions[1, 2]
    local = hamiltonian.local_energy(total, positions)
    assert torch.isfinite(local.total).tolist() == [True, False, True]
    close(local.matrix[[0, 2]], expected.matrix[[0, 2]])


@each_backend
def test_matrices_of_a_network_in_single_precision_are_in_double(backend):
    positions = draw(HYDROGEN, S)
    hamiltonian = StatesHamiltonian(HYDROGEN, backend)
    single = hamiltonian.local_energy(
        NaturalStates(network(FermiNet, HYDROGEN, dtype=torch.float32)), positions.float()
    )
    double = hamiltonian.local_energy(NaturalStates(network(FermiNet, HYDROGEN)), positions)
    assert {single.matrix.dtype, single.kinetic_matrix.dtype, single.total.dtype} == {DOUBLE}
    torch.testing.assert_close(single.matrix, double.matrix, rtol=1e-2, atol=1e-2)


@each_backend
def test_energies_carry_no_graph(backend):
    total = NaturalStates(network(FermiNet, HYDROGEN)).requires_grad_(True)
    local = local_energy(total, draw(HYDROGEN, S), backend)
    assert not local.total.requires_grad
    assert not local.matrix.requires_grad


def test_the_back_end_sees_one_function_for_as_long_as_the_network_lives():
    seen = []

    def backend(function, positions):
        seen.append(function)
        return ForwardLaplacian()(function, positions)

    hamiltonian, totals = StatesHamiltonian(HYDROGEN, backend), [NaturalStates(network(FermiNet, HYDROGEN))] * 2
    for total in [*totals, NaturalStates(network(FermiNet, HYDROGEN))]:
        hamiltonian.local_energy(total, draw(HYDROGEN, S))
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
