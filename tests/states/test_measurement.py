"""Local matrices at the walkers of a simulation, of the energy and of observables."""

import pytest
import torch
from evaluating import states_of

from qmcnet import FermiNet, MolecularHamiltonian, Molecule, NaturalStates
from qmcnet.operators.operator import Observable
from qmcnet.states.measurements import local_matrices

DOUBLE = torch.float64
LITHIUM = Molecule.atom("Li")
B = 4


def ensemble(n_states, dtype=DOUBLE):
    sizes = {"n_layers": 2, "hidden_one": 6, "hidden_two": 4, "n_determinants": 2, "n_states": n_states}
    return NaturalStates(FermiNet(LITHIUM, **sizes, dtype=dtype).requires_grad_(False))


def walkers(n_states, dtype=DOUBLE):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(B, n_states * 3, 3, dtype=DOUBLE, generator=generator).to(dtype)


class Multiplied:
    """Multiplies by functions of the position."""

    name, components = "multiplied", ("one", "x", "square")

    def __call__(self, states):
        x = states.positions[..., 0].sum(-1)
        return states.times(torch.stack([torch.ones_like(x), x, states.positions.square().sum((-2, -1))], -1))


class Twisted:
    """An operator that turns psi_j into 2 psi_j + psi_0."""

    name, components = "twisted", ("only",)

    def __call__(self, states):
        return (2 * states.psi + states.psi[:, :1])[:, None, :]


def measured(total, observables=()):
    states = states_of(total, walkers(total.n_states, next(total.parameters()).dtype))
    energy = MolecularHamiltonian(LITHIUM)(states)
    return energy, local_matrices(states, energy, observables)


@pytest.mark.parametrize("n_states", [1, 3])
def test_energies_come_from_the_hamiltonian(n_states):
    energy, found = measured(ensemble(n_states))
    assert set(found) == {"energy", "kinetic", "overlap"}
    for name, matrix in (("energy", energy.matrix), ("kinetic", energy.terms["kinetic"]), ("overlap", energy.overlap)):
        assert found[name].shape == (B, 1, n_states, n_states)
        assert torch.equal(found[name][:, 0], matrix)


@pytest.mark.parametrize("n_states", [1, 3])
def test_states_are_given_at_every_point(n_states):
    total, positions, generator = ensemble(n_states), walkers(n_states), torch.Generator().manual_seed(1)
    states = states_of(total, positions, generator=generator)
    points = positions.reshape(B * n_states, 3, 3)
    sign, log_abs_psi = total.network(points, LITHIUM.nuclei)
    assert torch.equal(states.positions, points)
    assert torch.equal(states.nuclei, LITHIUM.nuclei)
    expected = torch.rand(B * n_states, generator=torch.Generator().manual_seed(1))
    assert torch.equal(states.drawn(lambda n, source: torch.rand(n, generator=source)), expected)
    shift = log_abs_psi.amax(-1, keepdim=True)
    torch.testing.assert_close(states.psi, sign * (log_abs_psi - shift).exp())
    assert states.psi.abs().amax(-1).tolist() == [1.0] * (B * n_states)
    moved = points + torch.tensor([[[0.1]], [[0.7]]], dtype=DOUBLE)[:, None]  # two copies
    sign, log_abs_psi = total.network(moved.flatten(0, 1), LITHIUM.nuclei)
    expected = (sign * log_abs_psi.exp()).unflatten(0, (2, -1)) / shift.exp()
    torch.testing.assert_close(states.at(moved), expected)


@pytest.mark.parametrize("n_states", [1, 3])
def test_a_function_of_the_position_is_conjugated_by_the_states(n_states):
    observable: Observable = Multiplied()
    total, positions = ensemble(n_states), walkers(n_states)
    found = measured(total, [observable])[1]["multiplied"]
    assert found.shape == (B, 3, n_states, n_states)
    points = positions.reshape(B * n_states, 3, 3)
    sign, log_abs_psi = total.network(points, LITHIUM.nuclei)
    psi = (sign * log_abs_psi.exp()).view(B, n_states, n_states)
    x, square = points[..., 0].sum(-1), points.square().sum((-2, -1))
    for component, factor in enumerate([torch.ones_like(x), x, square]):
        operated = factor.view(B, n_states, 1) * psi
        torch.testing.assert_close(found[:, component], torch.linalg.inv(psi) @ operated, rtol=1e-7, atol=1e-7)
    trace = found.diagonal(dim1=-2, dim2=-1).sum(-1)[:, 1]
    torch.testing.assert_close(trace, positions[..., 0].sum(-1), rtol=1e-8, atol=1e-8)


def test_an_operator_in_the_space_of_the_states_has_its_matrix_at_every_walker():
    found = measured(ensemble(3), [Multiplied(), Twisted()])[1]
    expected = 2 * torch.eye(3, dtype=DOUBLE)
    expected[0] += 1  # psi_0 is in every image
    torch.testing.assert_close(found["twisted"][:, 0], expected.expand(B, 3, 3), rtol=1e-8, atol=1e-8)
    assert set(found) == {"energy", "kinetic", "overlap", "multiplied", "twisted"}


@pytest.mark.parametrize("n_states", [1, 3])
def test_matrices_of_a_network_in_single_precision_are_in_double(n_states):
    found = measured(ensemble(n_states, torch.float32), [Multiplied()])[1]
    assert {matrices.dtype for matrices in found.values()} == {DOUBLE}


def test_matrices_carry_no_graph():
    total = ensemble(3).requires_grad_(True)
    assert not any(matrices.requires_grad for matrices in measured(total, [Multiplied()])[1].values())
