"""States side by side: what their product is, the local matrices that go with it, and its scores."""

import pytest
import torch
from energies import local_energy
from qmcnet.operators.states_hamiltonian import trace
from qmcnet.states.product import ProductStates

from qmcnet.ansatz import FermiNet, LapNet, Psiformer
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import MolecularHamiltonian
from qmcnet.optimizers.gradient import log_components
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
N, S = 3, 3

each_ansatz = pytest.mark.parametrize("ansatz", [FermiNet, Psiformer, LapNet])


@pytest.fixture
def network(small, randomized, ansatz):
    return randomized(small(ansatz, LITHIUM, n_states=S), 0.1)


@pytest.fixture
def positions():
    return torch.randn(6, S * N, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


@each_ansatz
def test_every_state_is_evaluated_at_its_own_point(network, positions):
    product = ProductStates(network)
    assert (product.n_states, product.molecule, product.overlapping) == (S, LITHIUM, True)
    sign, log_abs_psi = product(positions)
    signs, logs = product.factors(positions)
    assert sign.shape == log_abs_psi.shape == (6,)
    assert signs.shape == logs.shape == (6, S)
    for j in range(S):
        expected = network(positions[:, j * N : (j + 1) * N])
        torch.testing.assert_close(signs[:, j], expected[0][:, j], rtol=0, atol=0)
        torch.testing.assert_close(logs[:, j], expected[1][:, j], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sign, signs[:, 0] * signs[:, 1] * signs[:, 2])
    torch.testing.assert_close(log_abs_psi, logs[:, 0] + logs[:, 1] + logs[:, 2])
    assert torch.equal(log_components(product, positions), logs)


@each_ansatz
def test_points_are_sampled_independently(network, positions):
    product, moved = ProductStates(network), positions.clone()
    moved[:, N : 2 * N] += 0.5
    change = product.factors(moved)[1] - product.factors(positions)[1]
    assert (change[:, [0, 2]] == 0).all()
    assert (change[:, 1].abs() > 1e-3).all()


@each_ansatz
@pytest.mark.parametrize("chunk_size", [2, 100])
def test_scores_are_autograd_state_by_state(network, positions, chunk_size):
    product = ProductStates(network.requires_grad_(True))
    rows = []
    for walker in positions:
        for j in range(S):
            log = product.factors(walker[None])[1][0, j]
            gradients = torch.autograd.grad(log, list(product.parameters()), allow_unused=True, materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    found = per_walker_scores(product, positions, chunk_size)
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found[0], found[1])


def test_local_matrices_are_divided_by_the_diagonal():
    generator = torch.Generator().manual_seed(3)
    psi, operated = torch.randn(2, 5, S, S, dtype=DOUBLE, generator=generator)
    found = ProductStates.local_matrix(psi, operated)
    for j in range(S):
        for k in range(S):
            torch.testing.assert_close(found[:, j, k], operated[:, j, k] / psi[:, j, j])
    scale = torch.rand(5, S, 1, dtype=DOUBLE, generator=generator) + 0.5
    torch.testing.assert_close(ProductStates.local_matrix(scale * psi, scale * operated), found)
    components = torch.stack([operated, 2 * operated], 1)  # (B, C, S, S)
    torch.testing.assert_close(ProductStates.local_matrix(psi[:, None], components)[:, 1], 2 * found)


@pytest.mark.parametrize(
    ("ansatz", "backend"),
    [(FermiNet, TorchFuncLaplacian()), *((ansatz, ForwardLaplacian()) for ansatz in (FermiNet, Psiformer, LapNet))],
    ids=["FermiNet-torch_func", "FermiNet-forward", "Psiformer-forward", "LapNet-forward"],
)
def test_local_energies_are_those_of_each_state_at_its_own_point(network, positions, backend):
    product = ProductStates(network)
    energy = local_energy(product, positions, backend)
    single = MolecularHamiltonian(LITHIUM, backend)
    for j in range(S):
        own = single.local_energy(
            lambda points, j=j: tuple(part[..., j] for part in network(points)), positions[:, j * N : (j + 1) * N]
        )
        torch.testing.assert_close(energy.matrix[:, j, j], own.total, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(energy.kinetic_matrix[:, j, j], own.kinetic, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(energy.total, trace(energy.matrix), rtol=1e-8, atol=1e-8)
    assert energy.overlap_matrix.shape == (6, S, S)
    assert torch.equal(energy.overlap_matrix.diagonal(dim1=-2, dim2=-1), torch.ones(6, S, dtype=DOUBLE))
    for j in range(S):
        sign, log = network(positions[:, j * N : (j + 1) * N])
        psi = sign * log.exp()
        torch.testing.assert_close(energy.overlap_matrix[:, j], psi / psi[:, j, None], rtol=1e-9, atol=1e-9)


@each_ansatz
@pytest.mark.parametrize("shift", [-5000.0, 5000.0])
def test_states_beyond_the_range_of_numbers_are_no_trouble(network, positions, shift):
    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.molecule, self.settings = network, LITHIUM, network.settings

        def forward(self, points):
            sign, log_abs_psi = network(points)
            return sign, log_abs_psi + shift

    first, second = (
        local_energy(ProductStates(one), positions, ForwardLaplacian())
        for one in (network, Shifted())
    )
    torch.testing.assert_close(first.matrix, second.matrix, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(first.overlap_matrix, second.overlap_matrix, rtol=1e-8, atol=1e-8)
