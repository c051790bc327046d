import math

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.system.molecule import Molecule

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
N2 = Molecule.diatomic("N", "N", 2.068, "bohr")
CH4 = Molecule.from_atoms(
    [["C", 0, 0, 0], ["H", 1, 1, 1], ["H", 1, -1, -1], ["H", -1, 1, -1], ["H", -1, -1, 1]], "bohr"
)


@pytest.mark.parametrize(
    ("molecule", "parameters"), [(N2, 766_944), (LIH, 683_744), (CH4, 744_800)], ids=["N2", "LiH", "CH4"]
)
def test_the_default_network_is_that_of_the_paper(molecule, parameters):
    """Counts of the published implementation with 16 full determinants and isotropic envelopes."""
    assert sum(parameter.numel() for parameter in FermiNet(molecule).parameters()) == parameters


def concatenated_streams(network, r):
    """Return the one-electron features of a walker as the paper writes them: concatenated, one electron at a time."""
    molecule, n = network.molecule, len(r)
    spins = [s for s in (range(molecule.n_up), range(molecule.n_up, n)) if len(s)]

    def with_length(vector):
        return torch.cat([vector, vector.square().sum().sqrt()[None]])

    one = [torch.cat([with_length(r[i] - nucleus) for nucleus in molecule.nuclei]) for i in range(n)]
    two = [[with_length(r[i] - r[j]) for j in range(n)] for i in range(n)]
    for layer in network.layers:
        split = len(one[0])
        own, pair_mean = layer.own.weight[:, :split], layer.own.weight[:, split:]
        weight = torch.cat([own, layer.mean.weight, pair_mean], 1)
        means = [torch.stack([one[i] for i in spin]).mean(0) for spin in spins]
        new = []
        for i in range(n):
            pair_means = [torch.stack([two[i][j] for j in spin]).mean(0) for spin in spins]
            new.append(torch.tanh(weight @ torch.cat([one[i], *means, *pair_means]) + layer.own.bias))
        if new[0].shape == one[0].shape:
            new = [(a + b) / math.sqrt(2) for a, b in zip(new, one, strict=True)]
        one = new
        if layer.pair is not None:
            updates = [[torch.tanh(layer.pair(two[i][j])) for j in range(n)] for i in range(n)]
            same = updates[0][0].shape == two[0][0].shape
            two = [
                [(b + a) / math.sqrt(2) if same else b for a, b in zip(*x, strict=True)]
                for x in zip(two, updates, strict=True)
            ]
    return one


@pytest.mark.parametrize(
    "molecule",
    [LIH, Molecule.atom("B"), Molecule.atom("He", spin=2), Molecule.atom("H")],
    ids=["LiH", "B", "He triplet", "H"],
)
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("jastrow", ["none", "cusp"])
def test_the_factored_form_equals_the_concatenated_one(molecule, full, jastrow, small, randomized, walkers, plain_head):
    psi, positions = small(FermiNet, molecule, full_determinants=full, jastrow=jastrow), walkers(molecule, 3)
    randomized(psi.head)
    expected = torch.stack([plain_head(psi, concatenated_streams(psi, r), r) for r in positions])
    sign, log_abs = (part[:, 0] for part in psi(positions, molecule.nuclei))
    torch.testing.assert_close(sign * log_abs.exp(), expected, rtol=1e-10, atol=0)


def test_weights_have_the_variance_of_the_concatenated_layer():
    network = FermiNet(LIH, seed=1)
    layer = network.layers[1]
    fan_in = 3 * 256 + 2 * 32
    for module in (layer.own, layer.mean):
        assert module.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)
    assert layer.pair.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert layer.own.bias.std().item() == pytest.approx(1, rel=0.2)
