"""Local energy matrices of several states, against closed forms and against one wavefunction of all copies."""

import members
import pytest
import torch
from evaluating import Formula, local_energy, states_of

from qmcnet.ansatz import FermiNet
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import MolecularHamiltonian
from qmcnet.operators.hamiltonian import trace
from qmcnet.operators.kinetic import Kinetic
from qmcnet.stages.fetch import fetch
from qmcnet.stages.stage import summarize
from qmcnet.states.measurements import local_matrices
from qmcnet.states.natural import NaturalStates
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import in_eigenstates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
BACKENDS = {"forward": ForwardLaplacian(), "torch_func": TorchFuncLaplacian()}
HYDROGEN, LIH = Molecule.atom("H"), Molecule.diatomic("Li", "H", 3.015, "bohr")
S = 3
SMALL = members.sizes(n_determinants=2)

each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
each_ansatz = pytest.mark.parametrize("ansatz", SMALL)
each_pair = pytest.mark.parametrize(
    ("ansatz", "backend"),
    [(FermiNet, TorchFuncLaplacian()), *((ansatz, ForwardLaplacian()) for ansatz in SMALL)],
    ids=["FermiNet-torch_func", *(f"{ansatz.__name__}-forward" for ansatz in SMALL)],
)


class OneElectron(Formula):
    """Eigenstates of one electron, from a function of its position."""

    def __init__(self, function, energies):
        super().__init__(self.evaluate, HYDROGEN)
        self.orbitals, self.energies = function, torch.tensor(energies, dtype=DOUBLE)

    def evaluate(self, positions):
        return torch.linalg.slogdet(self.orbitals(positions.squeeze(-2))[..., None, None])


def hydrogenic(r):
    """Return 1s, 2s, 2px, 2py, 2pz."""
    d = torch.linalg.vector_norm(r, dim=-1, keepdim=True)
    return torch.cat([torch.exp(-d), (1 - d / 2) * torch.exp(-d / 2), r * torch.exp(-d / 2)], -1)


def trapped(r):
    """Return the ground state, the three with one quantum, and two of those with two quanta."""
    square = r.square().sum(-1, keepdim=True)
    both = r[..., :1] * r[..., 1:2]
    return torch.cat([torch.ones_like(square), r, both, 2 * square - 3], -1) * torch.exp(-square / 2)


class Harmonic:
    """The potential r^2 / 2."""

    name = "harmonic"

    def __call__(self, states):
        return states.times(0.5 * states.positions.square().sum((-2, -1))[:, None])


SOLVED = {
    "hydrogen": (hydrogenic, [-0.5] + [-0.125] * 4),
    "trap": (trapped, [1.5] + [2.5] * 3 + [3.5] * 2),
}


def solved(name):
    """A Hamiltonian and its eigenstates."""
    hamiltonian = MolecularHamiltonian(HYDROGEN)
    if name == "trap":
        hamiltonian.terms = (Kinetic(), Harmonic())
    return hamiltonian, OneElectron(*SOLVED[name])


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
def test_eigenstates_have_their_energies_on_the_diagonal_at_every_walker(name, backend):
    hamiltonian, states = solved(name)
    local = hamiltonian(states_of(states, draw(HYDROGEN, len(states.energies), 20), backend))
    close(local.matrix, torch.diag(states.energies).expand_as(local.matrix))
    close(local.total, states.energies.sum().expand(20))
    assert local.kinetic.std() > 0.1


@each_backend
@pytest.mark.parametrize("name", SOLVED)
def test_mixed_eigenstates_keep_the_energies_as_eigenvalues(name, backend, mixed, mixing):
    hamiltonian, states = solved(name)
    matrix = mixing(len(states.energies))
    local = hamiltonian(states_of(mixed(states, matrix), draw(HYDROGEN, len(matrix), 20), backend))
    expected = torch.linalg.solve(matrix, torch.diag(states.energies) @ matrix)
    close(local.matrix, expected.expand_as(local.matrix), 1e-8)
    assert (expected - torch.diag(states.energies)).abs().max() > 0.1
    close(torch.linalg.eigvals(local.matrix).real.sort(-1).values, states.energies.expand(20, -1), 1e-8)


@each_backend
@pytest.mark.parametrize("name", SOLVED)
def test_the_kinetic_matrix_is_what_the_potential_leaves(name, backend):
    hamiltonian, states = solved(name)
    n_states = len(states.energies)
    positions = draw(HYDROGEN, n_states)
    local = hamiltonian(states_of(states, positions, backend))
    psi = states.orbitals(positions)  # (B, S, S): one electron at each point
    distance = positions.norm(dim=-1)
    potential = -1 / distance if name == "hydrogen" else distance.square() / 2
    expected = torch.diag(states.energies) - torch.linalg.inv(psi) @ (potential[..., None] * psi)
    close(local.terms["kinetic"], expected)
    close(local.potential, potential.sum(-1))
    close(local.kinetic, states.energies.sum() - potential.sum(-1))


@each_ansatz
def test_mixing_transforms_the_matrix_and_keeps_trace_and_eigenvalues(ansatz, mixed, mixing):
    states, positions, matrix = network(ansatz), draw(LIH, S), mixing(S)
    plain, local = local_energy(states, positions), local_energy(mixed(states, matrix), positions)
    for name, term in plain.terms.items():
        close(local.terms[name], torch.linalg.solve(matrix, term @ matrix), 1e-8)
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
    plain = local_energy(states, positions, backend)
    local = local_energy(mixed(states, torch.diag(norms)), positions, backend)
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


def kinetic_energy(log_abs, positions, second_derivatives):
    """Evaluate that of one function of all positions, from its logarithm."""
    found = second_derivatives(log_abs, positions)
    return -0.5 * (found.laplacian + found.gradient.square().sum((-2, -1)))


@each_pair
def test_the_trace_is_the_local_energy_of_one_wavefunction_of_all_copies(ansatz, backend, second_derivatives):
    total, positions = NaturalStates(network(ansatz)), draw(LIH, S, 2)
    local = local_energy(total, positions, backend)
    close(local.kinetic, kinetic_energy(lambda r: total(r)[1], positions, second_derivatives), 1e-8)
    close(local.total, trace(local.matrix))
    close(local.kinetic, trace(local.terms["kinetic"]))


def test_multiplicative_terms_are_sums_over_the_copies():
    positions = draw(LIH, S)
    local = local_energy(network(FermiNet), positions)
    copies = [local_energy(network(FermiNet, n_states=1), points) for points in positions.split(LIH.n_electrons, 1)]
    for name in ("electron_nucleus", "electron_electron", "nucleus_nucleus"):
        close(trace(local.terms[name]), sum(trace(copy.terms[name]) for copy in copies), 1e-12)
    repulsion = 3 / 3.015 * torch.eye(S, dtype=DOUBLE)
    close(local.terms["nucleus_nucleus"], repulsion.expand(len(positions), S, S), 1e-12)


@each_pair
def test_the_matrix_of_a_single_state_is_its_local_energy(ansatz, backend, second_derivatives):
    psi, positions = network(ansatz, n_states=1), draw(LIH, 1, 3)
    local = local_energy(psi, positions, backend)
    expected = kinetic_energy(lambda r: psi(r, LIH.nuclei)[1][:, 0], positions, second_derivatives)
    close(local.kinetic, expected)
    assert local.matrix.shape == local.overlap.shape == (3, 1, 1)
    close(local.matrix[:, 0, 0], local.total, 1e-12)
    close(local.overlap, torch.ones(3, 1, 1, dtype=DOUBLE), 1e-12)


@each_backend
def test_points_that_coincide_are_reported_for_that_walker_alone(backend):
    total, positions = NaturalStates(network(FermiNet, HYDROGEN)), draw(HYDROGEN, S, 3)
    expected = local_energy(total, positions, backend)
    positions[1, 0] = positions[1, 2]
    local = local_energy(total, positions, backend)
    assert torch.isfinite(local.total).tolist() == [True, False, True]
    close(local.matrix[[0, 2]], expected.matrix[[0, 2]])


@each_backend
def test_matrices_of_a_network_in_single_precision_are_in_double(backend):
    positions = draw(HYDROGEN, S)
    single = local_energy(network(FermiNet, HYDROGEN, dtype=torch.float32), positions.float(), backend)
    double = local_energy(network(FermiNet, HYDROGEN), positions, backend)
    assert {term.dtype for term in (single.matrix, single.total, *single.terms.values())} == {DOUBLE}
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

    totals = [NaturalStates(network(FermiNet, HYDROGEN))] * 2
    for total in [*totals, NaturalStates(network(FermiNet, HYDROGEN))]:
        local_energy(total, draw(HYDROGEN, S), backend)
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]


@pytest.mark.parametrize("number", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_what_is_reported_of_mixed_states_are_the_energies_whatever_the_mixing(number, mixed, mixing):
    hamiltonian, states = solved("trap")
    matrix = mixing(len(states.energies)).to(number)
    if number.is_complex:
        matrix = matrix + 0.4j * mixing(len(matrix), seed=3)
    at_points = states_of(mixed(states, matrix), draw(HYDROGEN, len(matrix), 20), ForwardLaplacian())
    energy = hamiltonian(at_points)
    (row,) = fetch([summarize(energy)])
    close(torch.tensor([row[f"state_{i}"] for i in range(len(matrix))]).double(), states.energies, 1e-8)
    averages = Averages()
    averages.add(local_matrices(at_points, energy, []))
    close(torch.from_numpy(in_eigenstates(averages.means())["energy"]), states.energies, 1e-8)
