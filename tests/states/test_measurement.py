"""Local matrices at the walkers of a simulation, of the energy and of observables."""

from types import SimpleNamespace

import pytest
import torch
from qmcnet.stages.ensemble import ensemble
from qmcnet.stages.measurement import local_matrices, state_values

from qmcnet import FermiNet, ForwardLaplacian, Molecule
from qmcnet.operators.operator import Observable

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
B = 4


def simulation(n_states, dtype=DOUBLE):
    sizes = {"n_layers": 2, "hidden_one": 6, "hidden_two": 4, "n_determinants": 2, "n_states": n_states}
    network = FermiNet(LITHIUM, **sizes, dtype=dtype).requires_grad_(False)
    total, hamiltonian = ensemble(network, ForwardLaplacian())
    generator = torch.Generator().manual_seed(3)
    positions = torch.randn(B, n_states * 3, 3, dtype=DOUBLE, generator=generator).to(dtype)
    walkers = SimpleNamespace(positions=positions)
    return SimpleNamespace(
        ansatz=total, hamiltonian=hamiltonian, walkers=walkers, molecule=LITHIUM, generator=generator, network=network
    )


class Multiplied:
    """Multiplies by functions of the position."""

    name, components = "multiplied", ("one", "x", "square")

    def __call__(self, states):
        x = states.positions[..., 0].sum(-1).double()
        factors = torch.stack([torch.ones_like(x), x, states.positions.double().square().sum((-2, -1))], -1)
        return factors[..., None] * states.values[:, None, :]


class Twisted:
    """An operator that turns psi_j into 2 psi_j + psi_0."""

    name, components = "twisted", ("only",)

    def __call__(self, states):
        return (2 * states.values + states.values[:, :1])[:, None, :]


def measured(run, observables=()):
    energy = run.hamiltonian(run.states())
    return energy, local_matrices(run, energy, observables)


@pytest.mark.parametrize("n_states", [1, 3])
def test_energies_come_from_the_hamiltonian(n_states):
    energy, found = measured(simulation(n_states))
    assert set(found) == {"energy", "kinetic"}
    for name, numbers, matrix in (
        ("energy", energy.total, energy.matrix),
        ("kinetic", energy.kinetic, energy.kinetic_matrix),
    ):
        assert found[name].shape == (B, 1, n_states, n_states)
        expected = numbers[:, None, None] if n_states == 1 else matrix
        assert torch.equal(found[name][:, 0], expected)


@pytest.mark.parametrize("n_states", [1, 3])
def test_states_are_given_at_every_point(n_states):
    run = simulation(n_states)
    states = state_values(run)
    points = run.walkers.positions.reshape(B * n_states, 3, 3)
    sign, log_abs_psi = (part.view(B * n_states, n_states) for part in run.network(points))
    assert torch.equal(states.positions, points)
    assert states.network is run.network
    assert states.generator is run.generator
    assert states.shift.shape == (B * n_states,)
    torch.testing.assert_close(states.values * states.shift.exp()[:, None], sign * log_abs_psi.exp())
    assert states.values.abs().amax(-1).tolist() == [1.0] * (B * n_states)


@pytest.mark.parametrize("n_states", [1, 3])
def test_a_function_of_the_position_is_conjugated_by_the_states(n_states):
    run = simulation(n_states)
    observable: Observable = Multiplied()
    found = measured(run, [observable])[1]["multiplied"]
    assert found.shape == (B, 3, n_states, n_states)
    points = run.walkers.positions.reshape(B * n_states, 3, 3)
    sign, log_abs_psi = run.network(points)
    psi = (sign * log_abs_psi.exp()).view(B, n_states, n_states)
    x, square = points[..., 0].sum(-1), points.square().sum((-2, -1))
    for component, factor in enumerate([torch.ones_like(x), x, square]):
        operated = factor.view(B, n_states, 1) * psi
        torch.testing.assert_close(found[:, component], torch.linalg.inv(psi) @ operated, rtol=1e-7, atol=1e-7)
    trace = found.diagonal(dim1=-2, dim2=-1).sum(-1)[:, 1]
    torch.testing.assert_close(trace, run.walkers.positions[..., 0].sum(-1), rtol=1e-8, atol=1e-8)


def test_an_operator_in_the_space_of_the_states_has_its_matrix_at_every_walker():
    found = measured(simulation(3), [Multiplied(), Twisted()])[1]
    expected = 2 * torch.eye(3, dtype=DOUBLE)
    expected[0] += 1  # psi_0 is in every image
    torch.testing.assert_close(found["twisted"][:, 0], expected.expand(B, 3, 3), rtol=1e-8, atol=1e-8)
    assert set(found) == {"energy", "kinetic", "multiplied", "twisted"}


@pytest.mark.parametrize("n_states", [1, 3])
def test_matrices_of_a_network_in_single_precision_are_in_double(n_states):
    found = measured(simulation(n_states, torch.float32), [Multiplied()])[1]
    assert {matrices.dtype for matrices in found.values()} == {DOUBLE}


def test_matrices_carry_no_graph():
    run = simulation(3)
    run.network.requires_grad_(True)
    assert not any(matrices.requires_grad for matrices in measured(run, [Multiplied()])[1].values())
