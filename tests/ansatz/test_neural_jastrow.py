import itertools
import math

import members
import pytest
import torch

from qmcnet.ansatz.features import features
from qmcnet.ansatz.neural_jastrow import LENGTHS, NeuralJastrow
from qmcnet.laplacian import forward_laplacian
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
BORON = Molecule.atom("B")
H2 = Molecule.diatomic("H", "H", 1.4, "bohr")
H2_TRIPLET = Molecule.diatomic("H", "H", 1.4, "bohr", spin=2)


class Wavefunction(torch.nn.Module):
    """The Jastrow factor alone, as a function of positions."""

    def __init__(self, factor, molecule):
        super().__init__()
        self.factor, self.molecule = factor, molecule

    def forward(self, positions, nuclei=None):
        inputs = features(positions, self.molecule.nuclei, self.molecule)
        log_abs = self.factor(inputs.d_en, inputs.d_ee)
        return torch.ones_like(log_abs), log_abs


@pytest.fixture
def factor(randomized):
    """A factor whose parameters are all random, and large enough to matter."""
    return lambda molecule: Wavefunction(randomized(NeuralJastrow(molecule).double(), 1.0), molecule)


def parts(psi, positions):
    """Return J and its part beside the cusp."""
    inputs = features(positions, psi.molecule.nuclei, psi.molecule)
    total = psi.factor(inputs.d_en, inputs.d_ee)
    return total, total - psi.factor.cusp(inputs.d_en, inputs.d_ee)


@pytest.mark.parametrize("molecule", [LIH, BORON], ids=["LiH", "B"])
def test_the_factor_is_a_sum_over_pairs(molecule, factor, walkers):
    psi = factor(molecule).requires_grad_(False)
    layers, positions = psi.factor, walkers(molecule, 5)
    for walker, value in zip(positions, parts(psi, positions)[1], strict=True):
        seen = []
        for r in walker:
            inputs = [1 / (1 + math.dist(r, nucleus) ** 2 / a**2) for nucleus in molecule.nuclei for a in LENGTHS]
            seen.append(torch.tanh(layers.electron.weight @ torch.tensor(inputs, dtype=DOUBLE) + layers.electron.bias))
        expected = 0.0
        for i, j in itertools.combinations(range(molecule.n_electrons), 2):
            inputs = [1 / (1 + math.dist(walker[i], walker[j]) ** 2 / a**2) for a in LENGTHS]
            inputs.append(1.0 if (i < molecule.n_up) == (j < molecule.n_up) else 0.0)
            pair = torch.tanh(layers.pair.weight @ torch.tensor(inputs, dtype=DOUBLE) + layers.pair.bias)
            expected += (layers.pair_sum.weight * seen[i] * pair * seen[j]).sum().item()
        assert value.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("molecule", "cusp"), [(H2, 1 / 2), (H2_TRIPLET, 1 / 4)], ids=["opposite", "equal"])
def test_the_network_leaves_the_cusp_alone(molecule, cusp, factor):
    psi = factor(molecule)
    generator = torch.Generator().manual_seed(2)
    centre, direction = torch.randn(2, 20, 3, dtype=DOUBLE, generator=generator)
    half = torch.nn.functional.normalize(direction, dim=-1)[:, None] / 2

    def slopes(distance):
        r = torch.full((20, 1, 1), distance, dtype=DOUBLE, requires_grad=True)
        halves = [parts(psi, centre[:, None] + sign * r * torch.cat([half, -half], 1)) for sign in (1, -1)]
        total, beside = ((one + other).sum() / 2 for one, other in zip(*halves, strict=True))
        gradients = (torch.autograd.grad(part, r, retain_graph=True)[0].flatten() for part in (total, beside))
        return torch.stack(list(gradients))

    total, beside = slopes(1e-6)
    torch.testing.assert_close(total, torch.full((20,), cusp, dtype=DOUBLE), rtol=0, atol=1e-4)
    assert beside.abs().max() < 1e-4
    assert slopes(0.5)[1].abs().min() > 1e-3


def test_the_network_makes_no_cusp_at_a_nucleus(factor):
    psi = factor(LIH)
    generator = torch.Generator().manual_seed(3)
    positions = torch.randn(20, 4, 3, dtype=DOUBLE, generator=generator)
    direction = torch.nn.functional.normalize(positions[:, 0], dim=-1)

    def slope(distance):
        r = torch.full((20, 1), distance, dtype=DOUBLE, requires_grad=True)
        values = []
        for sign in (1, -1):
            moved = LIH.nuclei[0] + sign * r * direction
            values.append(parts(psi, torch.cat([moved[:, None], positions[:, 1:]], 1))[1])
        return torch.autograd.grad(sum(values).sum() / 2, r)[0]

    assert slope(1e-6).abs().max() < 1e-4
    assert slope(0.5).abs().min() > 1e-3


def test_exchanging_electrons_of_one_spin_changes_nothing(factor, walkers):
    psi, positions = factor(LIH), walkers(LIH)
    _, value = psi(positions)
    for order in ([1, 0, 2, 3], [0, 1, 3, 2]):
        torch.testing.assert_close(psi(positions[:, order])[1], value, rtol=1e-12, atol=1e-12)
    assert (psi(positions[:, [0, 2, 1, 3]])[1] - value).abs().max() > 0.1


def test_pairs_of_equal_and_opposite_spin_differ(factor):
    singlet, triplet = factor(H2), factor(H2_TRIPLET)
    triplet.load_state_dict(singlet.state_dict())
    positions = torch.randn(8, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    assert (parts(singlet, positions)[1] - parts(triplet, positions)[1]).abs().min() > 1e-3


def test_the_factor_sees_the_nuclei(factor, walkers):
    psi, positions = factor(LIH), walkers(LIH)
    before = psi(positions)[1]
    assert (psi(positions + torch.tensor([0.0, 0.0, 0.5], dtype=DOUBLE))[1] - before).abs().min() > 1e-3


def test_the_factor_tends_to_a_constant_far_away(factor, walkers):
    psi, positions = factor(LIH), walkers(LIH, 3)
    steps = []
    for distance in (1e2, 1e4, 1e6):
        positions[:, 0] = distance * torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)
        steps.append(psi(positions)[1])
    assert (steps[1] - steps[0]).abs().max() < 0.1
    assert (steps[2] - steps[1]).abs().max() < 1e-3


@pytest.mark.parametrize("molecule", [LIH, BORON], ids=["LiH", "B"])
def test_derivatives_are_those_of_the_reference(molecule, factor, walkers, second_derivatives):
    psi, positions = factor(molecule).requires_grad_(False), walkers(molecule, 5)

    def log_abs(r):
        inputs = features(r, molecule.nuclei, molecule)
        return psi.factor(inputs.d_en, inputs.d_ee)

    result, reference = forward_laplacian(log_abs, positions), second_derivatives(log_abs, positions)
    torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-10, atol=1e-10)


def test_scores_are_autograd_walker_by_walker(factor, walkers):
    psi, positions = factor(LIH), walkers(LIH, 4)
    rows = []
    for walker in positions:
        gradients = torch.autograd.grad(psi(walker[None])[1].sum(), list(psi.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = torch.stack(rows)
    assert (expected.abs().amax(0) > 1e-9).all()
    torch.testing.assert_close(per_walker_scores(NaturalStates(psi), positions, 3), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("ansatz", members.networks())
def test_a_fresh_network_is_nearly_the_one_with_the_cusp_alone(ansatz, small, walkers):
    cusp, neural = (small(ansatz, LIH, jastrow=jastrow) for jastrow in ("cusp", "neural"))
    for name, weight in cusp.state_dict().items():
        other = neural.state_dict()[name.replace("jastrow.range", "jastrow.cusp.range")]
        assert torch.equal(weight, other), name
    sign, log_abs = cusp(walkers(LIH), LIH.nuclei)
    neural_sign, neural_log = neural(walkers(LIH), LIH.nuclei)
    assert torch.equal(sign, neural_sign)
    assert 0 < (neural_log - log_abs).abs().max() < 0.03


@pytest.mark.parametrize("ansatz", members.networks())
def test_its_layers_are_drawn_with_the_weights_of_the_network(ansatz, small):
    layer = small(ansatz, Molecule.chain("H", 16, 2.0, "bohr"), jastrow="neural").head.jastrow.electron
    assert layer.weight.std().item() == pytest.approx((4 * 16) ** -0.5, rel=0.1)
    assert layer.bias.std().item() == pytest.approx(1, rel=0.5)


def test_one_electron_has_no_factor(factor):
    psi = factor(Molecule.atom("H"))
    positions = torch.randn(3, 1, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    assert psi(positions)[1].tolist() == [0, 0, 0]
