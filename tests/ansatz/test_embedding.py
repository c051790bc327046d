import pytest
import torch
from torch import nn

from qmcnet.ansatz.embedding import Embedding, draw_weights
from qmcnet.ansatz.features import features
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")


def inputs_of_the_linear_map(molecule, positions):
    """Read the inputs off with the identity in place of the weights."""
    width = 4 * len(molecule.symbols) + 1
    embedding = Embedding(molecule, width, bias=False).double().requires_grad_(False)
    embedding.linear.weight.copy_(torch.eye(width))
    return embedding(features(positions, molecule.nuclei, molecule))


@pytest.mark.parametrize("distance", [1e-6, 0.1, 1.0, 50.0])
def test_vectors_keep_their_direction_and_grow_like_a_logarithm(distance):
    direction = torch.tensor([0.36, -0.48, 0.8], dtype=DOUBLE)
    positions = (distance * direction).expand(1, 4, 3)
    numbers = inputs_of_the_linear_map(LIH, positions)
    grown = torch.log1p(torch.tensor(distance, dtype=DOUBLE))
    torch.testing.assert_close(numbers[0, 0, :3], grown * direction, rtol=1e-9, atol=0)
    vector = distance * direction - LIH.nuclei[1]
    torch.testing.assert_close(numbers[0, 0, 4:7], vector * torch.log1p(vector.norm()) / vector.norm())
    torch.testing.assert_close(numbers[0, 0, 3:8:4], torch.stack([grown, torch.log1p(vector.norm())]))


@pytest.mark.parametrize(
    ("molecule", "spins"),
    [(LIH, [1, 1, -1, -1]), (Molecule.atom("Li"), [1, 1, -1]), (Molecule.atom("He", spin=2), [1, 1])],
    ids=["LiH", "Li", "He triplet"],
)
def test_the_last_input_is_the_spin(molecule, spins, walkers):
    numbers = inputs_of_the_linear_map(molecule, walkers(molecule, 3))
    assert numbers[..., -1].tolist() == [spins] * 3


@pytest.mark.parametrize("bias", [False, True])
def test_the_embedding_is_that_of_a_loop(bias, plain_embedding, walkers, randomized):
    network = nn.Module()
    network.molecule = LIH
    network.embedding = randomized(Embedding(LIH, 7, bias).double().requires_grad_(False))
    positions = walkers(LIH, 3)
    expected = torch.stack([torch.stack(plain_embedding(network, r)) for r in positions])
    assert expected.shape == (3, 4, 7)
    torch.testing.assert_close(
        network.embedding(features(positions, LIH.nuclei, LIH)), expected, rtol=1e-12, atol=1e-12
    )


def test_weights_have_variance_of_one_over_fan_in_and_biases_of_one():
    network = nn.ModuleDict(
        {"map": nn.Linear(100, 3000), "norm": nn.LayerNorm(9), "plain": nn.Linear(9, 9, bias=False)}
    )
    draw_weights(network, torch.Generator().manual_seed(0))
    assert network["map"].weight.std().item() == pytest.approx(0.1, rel=0.01)
    assert network["map"].bias.std().item() == pytest.approx(1, rel=0.05)
    assert network["plain"].weight.std().item() == pytest.approx(1 / 3, rel=0.2)
    assert (network["norm"].weight == 1).all() and (network["norm"].bias == 0).all()
