import pytest
import torch

from qmcnet.ansatz import LapNet, Psiformer
from qmcnet.laplacian import forward_laplacian
from qmcnet.laplacian.supports import Kind
from qmcnet.system.molecule import Molecule

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
N2 = Molecule.diatomic("N", "N", 2.068, "bohr")


@pytest.mark.parametrize(("options", "parameters"), [({}, 1_829_634), ({"jastrow": "none"}, 1_829_632)])
def test_the_default_network_is_that_of_the_paper(options, parameters):
    """Count of the published implementation with four layers of four heads of 64."""
    assert sum(parameter.numel() for parameter in LapNet(N2, **options).parameters()) == parameters


@pytest.mark.parametrize("molecule", [LIH, Molecule.atom("B"), Molecule.atom("He", spin=2)], ids=["LiH", "B", "He*"])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("jastrow", ["cusp", "none"])
def test_the_network_is_that_of_its_formulas(
    molecule, full, jastrow, small, randomized, walkers, plain_embedding, plain_attention, plain_head
):
    options = {"full_determinants": full, "jastrow": jastrow}
    psi, positions = randomized(small(LapNet, molecule, **options)), walkers(molecule, 3)

    def updated(linear, x):
        return [own + torch.tanh(linear.weight @ own + linear.bias) for own in x]

    expected = []
    for r in positions:
        single = plain_embedding(psi, r)
        mixed = single
        for i, layer in enumerate(psi.layers):
            gathered = plain_attention(layer.attention, single, mixed)
            mixed = updated(layer.update, [own + new for own, new in zip(mixed, gathered, strict=True)])
            if i < len(psi.single):
                for linear in psi.single[i].updates:
                    single = updated(linear, single)
        expected.append(plain_head(psi, mixed, r))
    assert len(psi.single) == len(psi.layers) - 1
    sign, log_abs = (part[:, 0] for part in psi(positions, molecule.nuclei))
    torch.testing.assert_close(sign * log_abs.exp(), torch.stack(expected), rtol=1e-9, atol=0)


def streams(psi, evaluate):
    """Return what queries and keys, and what values come from, layer by layer."""
    seen = []
    hooks = [
        layer.attention.register_forward_pre_hook(lambda module, inputs: seen.append(inputs)) for layer in psi.layers
    ]
    evaluate()
    for hook in hooks:
        hook.remove()
    return seen


def test_queries_and_keys_depend_on_their_own_electron_alone(small, walkers):
    psi, positions = small(LapNet, LIH), walkers(LIH)
    before = streams(psi, lambda: psi(positions, LIH.nuclei))
    for j in range(4):
        moved, others = positions.clone(), [i for i in range(4) if i != j]
        moved[:, j] += 0.3
        after = streams(psi, lambda moved=moved: psi(moved, LIH.nuclei))
        for layer, ((old, old_mixed), (new, new_mixed)) in enumerate(zip(before, after, strict=True)):
            assert torch.equal(old[:, others], new[:, others])
            assert (old[:, j] != new[:, j]).any(-1).all()
            assert torch.equal(old_mixed[:, others], new_mixed[:, others]) is (layer == 0)
    assert len(before) == 3


def kinds(psi, positions):
    seen = streams(psi, lambda: forward_laplacian(lambda r: psi(r, LIH.nuclei)[1], positions))
    return [(looking.support.kind, mixed.support.kind) for looking, mixed in seen], seen


def test_the_single_stream_stays_sparse_in_the_forward_laplacian(small, walkers):
    pairs, seen = kinds(small(LapNet, LIH, n_layers=4), walkers(LIH))
    assert pairs == [(Kind.ELECTRON, Kind.ELECTRON)] + 3 * [(Kind.ELECTRON, Kind.DENSE)]
    assert [len(looking.jacobian) for looking, _ in seen] == [3, 3, 3, 3]
    assert [len(mixed.jacobian) for _, mixed in seen] == [3, 12, 12, 12]
    psiformer, _ = kinds(small(Psiformer, LIH, n_layers=4), walkers(LIH))
    assert psiformer == [(Kind.ELECTRON, Kind.ELECTRON)] + 3 * [(Kind.DENSE, Kind.DENSE)]


@pytest.mark.parametrize("full", [True, False])
def test_pretraining_lowers_the_orbital_error(full, pretraining_errors):
    errors = pretraining_errors(LapNet, full)
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
