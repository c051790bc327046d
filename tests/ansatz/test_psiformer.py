import pytest
import torch

from qmcnet.ansatz import Psiformer
from qmcnet.system.molecule import Molecule

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
N2 = Molecule.diatomic("N", "N", 2.068, "bohr")


@pytest.mark.parametrize(
    ("options", "parameters"), [({}, 1_697_794), ({"layer_norm": False}, 1_693_698), ({"jastrow": "none"}, 1_697_792)]
)
def test_the_default_network_is_that_of_the_paper(options, parameters):
    """Count of the published implementation with four layers of four heads of 64, perceptrons of 256."""
    assert sum(parameter.numel() for parameter in Psiformer(N2, **options).parameters()) == parameters


def normalised(x, norm):
    if isinstance(norm, torch.nn.Identity):
        return x
    mean = x.sum() / len(x)
    variance = ((x - mean) ** 2).sum() / len(x)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("molecule", [LIH, Molecule.atom("B"), Molecule.atom("He", spin=2)], ids=["LiH", "B", "He*"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("jastrow", ["cusp", "none"])
def test_the_network_is_that_of_its_formulas(
    molecule, full, layer_norm, jastrow, small, randomized, walkers, plain_embedding, plain_attention, plain_head
):
    options = {"full_determinants": full, "layer_norm": layer_norm, "jastrow": jastrow}
    psi, positions = randomized(small(Psiformer, molecule, **options)), walkers(molecule, 3)
    expected = []
    for r in positions:
        h = plain_embedding(psi, r)
        for layer in psi.layers:
            gathered = plain_attention(layer.attention, h, h)
            h = [normalised(own + new, layer.norms[0]) for own, new in zip(h, gathered, strict=True)]
            hidden = [torch.tanh(layer.hidden.weight @ own + layer.hidden.bias) for own in h]
            new = [torch.tanh(layer.out.weight @ own + layer.out.bias) for own in hidden]
            h = [normalised(own + other, layer.norms[1]) for own, other in zip(h, new, strict=True)]
        expected.append(plain_head(psi, h, r))
    sign, log_abs = (part[:, 0] for part in psi(positions, molecule.nuclei))
    torch.testing.assert_close(sign * log_abs.exp(), torch.stack(expected), rtol=1e-9, atol=0)


def test_normalised_layers_start_as_the_identity_after_normalisation(small):
    psi = small(Psiformer, LIH)
    norms = [norm for layer in psi.layers for norm in layer.norms]
    assert len(norms) == 4
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)


@pytest.mark.parametrize("full", [True, False])
def test_pretraining_lowers_the_orbital_error(full, pretraining_errors):
    errors = pretraining_errors(Psiformer, full)
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
