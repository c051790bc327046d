"""States side by side: what their product is, the local matrices that go with it, and its scores."""

import members
import pytest
import torch
from evaluating import Formula, local_energy

from qmcnet.ansatz import FermiNet
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators.hamiltonian import trace
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.states.penalty import ProductStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
N, S = 3, 3


@pytest.fixture
def network(moved, ansatz):
    return moved(ansatz, LITHIUM, S)


@pytest.fixture
def positions():
    return torch.randn(6, S * N, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def test_every_state_is_evaluated_at_its_own_point(network, positions):
    product = ProductStates(network)
    assert (product.n_states, product.molecule) == (S, LITHIUM)
    sign, log_abs_psi = product(positions)
    logs = product.factors(positions)
    assert sign.shape == log_abs_psi.shape == (6,)
    assert logs.shape == (6, S)
    signs = []
    for j in range(S):
        expected = network(positions[:, j * N : (j + 1) * N], LITHIUM.nuclei)
        signs.append(expected[0][:, j])
        torch.testing.assert_close(logs[:, j], expected[1][:, j], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(sign, signs[0] * signs[1] * signs[2], rtol=0, atol=0)
    torch.testing.assert_close(log_abs_psi, logs[:, 0] + logs[:, 1] + logs[:, 2])


def test_points_are_sampled_independently(network, positions):
    product, moved = ProductStates(network), positions.clone()
    moved[:, N : 2 * N] += 0.5
    change = product.factors(moved) - product.factors(positions)
    assert (change[:, [0, 2]] == 0).all()
    assert (change[:, 1].abs() > 1e-3).all()


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_scores_are_autograd_state_by_state(network, positions, chunk_size):
    product = ProductStates(network.requires_grad_(True))
    rows = []
    for walker in positions:
        for j in range(S):
            log = product.factors(walker[None])[0, j]
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
    [(FermiNet, TorchFuncLaplacian()), *((ansatz, ForwardLaplacian()) for ansatz in members.networks())],
)
def test_local_energies_are_those_of_each_state_at_its_own_point(network, positions, backend):
    product = ProductStates(network)
    energy = local_energy(product, positions, backend)
    for j in range(S):
        single = Formula(lambda points, j=j: [part[..., j] for part in network(points, LITHIUM.nuclei)], LITHIUM)
        own = local_energy(single, positions[:, j * N : (j + 1) * N], backend)
        torch.testing.assert_close(energy.matrix[:, j, j], own.total, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(energy.terms["kinetic"][:, j, j], own.kinetic, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(energy.total, trace(energy.matrix), rtol=1e-8, atol=1e-8)
    assert energy.overlap.shape == (6, S, S)
    assert torch.equal(energy.overlap.diagonal(dim1=-2, dim2=-1), torch.ones(6, S, dtype=DOUBLE))
    for j in range(S):
        sign, log = network(positions[:, j * N : (j + 1) * N], LITHIUM.nuclei)
        psi = sign * log.exp()
        torch.testing.assert_close(energy.overlap[:, j], psi / psi[:, j, None], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shift", [-5000.0, 5000.0])
def test_states_beyond_the_range_of_numbers_are_no_trouble(network, positions, shift):
    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.molecule = network, LITHIUM

        def forward(self, points, nuclei):
            sign, log_abs_psi = network(points, nuclei)
            return sign, log_abs_psi + shift

    first, second = (local_energy(ProductStates(one), positions, ForwardLaplacian()) for one in (network, Shifted()))
    torch.testing.assert_close(first.matrix, second.matrix, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(first.overlap, second.overlap, rtol=1e-8, atol=1e-8)
