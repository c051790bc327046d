import math

import pytest
import torch
from evaluating import Toy
from torch import nn

from qmcnet import Molecule, Spring
from qmcnet.optimizers import Kfac

UNCONSTRAINED = {"norm_constraint": 1e9}
LIH = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])


def natural_gradient(scores, energies, damping=0.0):
    """Covariance of the scores, and its inverse applied to half the energy gradient."""
    flat = (scores - scores.mean(0)) / math.sqrt(len(scores))
    gradient = flat.T @ (energies - energies.mean())[:, 0] / math.sqrt(len(scores))
    return torch.linalg.solve(flat.T @ flat + damping * torch.eye(flat.shape[1]).double(), gradient), gradient


def close(value, expected, tolerance):
    return (value - expected).norm() < tolerance * expected.norm()


@pytest.mark.parametrize("bias", [False, True])
def test_on_a_linear_model_the_step_is_the_exact_natural_gradient(bias, linear_model, batches, vector):
    # The damping enters by its square root 1e-7, over eigenvalues of the covariance of order 0.1.
    ansatz, other, ((positions, energies),) = linear_model(5, bias), linear_model(5, bias), batches(1, 50)
    before, settings = vector(ansatz), {"learning_rate": 0.3, "damping": 1e-14, **UNCONSTRAINED}
    Kfac(ansatz, **settings).update(positions, energies)
    expected, _ = natural_gradient(ansatz.features(positions), energies)
    assert close((vector(ansatz) - before)[:5], -0.3 * expected, 1e-6)
    Spring(other, momentum=0.0, **settings).update(positions, energies)
    assert close((vector(ansatz) - before)[:5], (vector(other) - before)[:5], 1e-6)


@pytest.mark.parametrize("damping", [1e-14, 0.1])
def test_running_averages_forget_and_serve_several_updates(damping, linear_model, batches, vector):
    ansatz, decay, inverse_every = linear_model(5), 0.6, 3
    optimizer = Kfac(
        ansatz, damping=damping, covariance_decay=decay, inverse_every=inverse_every, learning_rate=0.3, **UNCONSTRAINED
    )
    square, mean = torch.zeros(5, 5).double(), torch.zeros(5).double()
    decomposed_at = []
    for step, (positions, energies) in enumerate(batches(10, 50), start=1):
        features = ansatz.features(positions)
        square = decay * square + (1 - decay) * features.T @ features / 50
        mean = decay * mean + (1 - decay) * features.mean(0)
        if step in (1, 2, 3, 6, 9):
            second, first = square / (1 - decay**step), mean / (1 - decay**step)
            ratio = (second.trace() / 5).sqrt()
            shifted = second + ratio * damping**0.5 * torch.eye(5).double()
            curvature = shifted * (1 + damping**0.5 / ratio) - torch.outer(first, first)
            decomposed_at.append(step)
        expected = torch.linalg.solve(curvature, natural_gradient(features, energies)[1])
        before = vector(ansatz)
        optimizer.update(positions, energies)
        assert close(vector(ansatz) - before, -0.3 * expected, 1e-10)
    assert decomposed_at == [1, 2, 3, 6, 9]


@pytest.mark.parametrize("constraint", [1e-6, 1e-3])
def test_the_norm_constraint_bounds_the_length_in_the_metric_of_the_curvature(
    constraint, linear_model, batches, vector
):
    free, bound = linear_model(5), linear_model(5)
    start, ((positions, energies),) = vector(free), batches(1, 50)
    direction, gradient = natural_gradient(free.features(positions), energies)
    assert gradient @ direction > constraint
    Kfac(free, learning_rate=1.0, damping=1e-14, **UNCONSTRAINED).update(positions, energies)
    stats = Kfac(bound, learning_rate=1.0, damping=1e-14, norm_constraint=constraint).update(positions, energies)
    short = vector(bound) - start
    rate = math.sqrt(constraint / (gradient @ direction))
    assert close(short, -rate * direction, 1e-6)
    assert close(short / short.norm(), (vector(free) - start) / (vector(free) - start).norm(), 1e-12)
    assert stats["update_norm"].item() == pytest.approx(short.norm().item(), rel=1e-9)


def test_a_constraint_that_does_not_bind_leaves_the_step_as_it_is(linear_model, batches, vector):
    free, bound, ((positions, energies),) = linear_model(5), linear_model(5), batches(1, 50)
    direction, gradient = natural_gradient(free.features(positions), energies)
    loose = 0.1**2 * (gradient @ direction).item() * 1.01
    Kfac(free, learning_rate=0.1, damping=1e-14, **UNCONSTRAINED).update(positions, energies)
    Kfac(bound, learning_rate=0.1, damping=1e-14, norm_constraint=loose).update(positions, energies)
    assert torch.equal(vector(free), vector(bound))


def test_the_rate_is_scaled(linear_model, batches, vector):
    full, half, ((positions, energies),) = linear_model(5), linear_model(5), batches(1, 50)
    start = vector(full)
    Kfac(full, learning_rate=0.2, **UNCONSTRAINED).update(positions, energies)
    stats = Kfac(half, learning_rate=0.2, **UNCONSTRAINED).update(positions, energies, scale=0.5)
    assert stats["learning_rate"] == pytest.approx(0.1)
    assert close(2 * (vector(half) - start), vector(full) - start, 1e-10)


class Scales(Toy):
    """Parameters outside of linear layers: one with 3 entries and one with 8."""

    def __init__(self):
        super().__init__()
        self.small, self.large = Scale((3,)), Scale((2, 4))

    def forward(self, positions):
        large = self.large(positions.mean(-1, keepdim=True)).prod(1)  # (B, 4)
        log_abs_psi = self.small(positions).sin().sum((-2, -1)) + large.sum(-1)
        return torch.ones_like(log_abs_psi), log_abs_psi


class Scale(nn.Module):
    def __init__(self, shape):
        super().__init__()
        generator = torch.Generator().manual_seed(8)
        self.factor = nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64))

    def forward(self, features):
        return (features * self.factor).cos()


def test_a_small_parameter_has_a_full_block_and_a_large_one_a_diagonal(batches, vector, autograd_scores):
    ansatz, ((positions, energies),) = Scales(), batches(1, 30)
    scores, before = autograd_scores(ansatz, positions), vector(ansatz)
    small, _ = natural_gradient(scores[:, :3], energies, 0.01)
    large = natural_gradient(scores, energies)[1][3:] / (scores[:, 3:].var(0, correction=0) + 0.01)
    Kfac(ansatz, learning_rate=0.3, damping=0.01, largest_full_block=7, **UNCONSTRAINED).update(positions, energies)
    assert close(vector(ansatz) - before, -0.3 * torch.cat([small, large]), 1e-9)


@pytest.mark.parametrize(("largest", "full"), [(2, [0, 0]), (3, [1, 0]), (7, [1, 0]), (8, [1, 1])])
def test_the_largest_full_block_can_be_set(largest, full, batches):
    ((positions, energies),) = batches(1, 30)
    optimizer = Kfac(Scales(), largest_full_block=largest)
    optimizer.update(positions, energies)
    assert [int(part["square"].dim() == 2) for _, part in sorted(optimizer.averages.items())] == full


class Tied(Toy):
    """Two linear layers with one weight and biases of their own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, positions):
        log_abs_psi = self.second(self.first(positions).sin()).tanh().sum((-2, -1))
        return torch.ones_like(log_abs_psi), log_abs_psi


def test_a_weight_shared_by_two_layers_has_one_full_block(batches, vector, autograd_scores):
    torch.manual_seed(0)
    ansatz, ((positions, energies),) = Tied().double(), batches(1, 40)
    scores, before = autograd_scores(ansatz, positions), vector(ansatz)
    blocks = [natural_gradient(part, energies, 0.01)[0] for part in scores.split([9, 3, 3], 1)]
    Kfac(ansatz, learning_rate=0.3, damping=0.01, **UNCONSTRAINED).update(positions, energies)
    assert close(vector(ansatz) - before, -0.3 * torch.cat(blocks), 1e-9)


class CalledTwice(Toy):
    """Feeds a linear layer with its own output."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3, bias=False)

    def calls(self, positions):
        first = self.linear(positions)
        second = self.linear(first.sin())
        return (positions, first.sin()), (first, second), second.cos().sum((-2, -1))

    def forward(self, positions):
        log_abs_psi = self.calls(positions)[2]
        return torch.ones_like(log_abs_psi), log_abs_psi


def test_the_rows_of_both_calls_of_a_layer_enter_its_covariances(batches, vector):
    torch.manual_seed(0)
    ansatz, ((positions, energies),) = CalledTwice().double(), batches(1, 40)
    inputs, outputs, log_abs_psi = ansatz.calls(positions)
    x = torch.cat(inputs, 1).detach()  # two electrons and two calls: (B, 4, 3)
    s = torch.cat(torch.autograd.grad(log_abs_psi.sum(), outputs), 1)
    a, g = torch.einsum("bmi,bmj->ij", x, x) / 160, torch.einsum("bmi,bmj->ij", s, s) / 40
    pi = (a.trace() / g.trace()).sqrt()
    eye, mean = 0.1 * torch.eye(3).double(), torch.outer(2 * s.mean((0, 1)), x.mean((0, 1))).flatten()
    curvature = torch.kron(g + eye / pi, a + pi * eye) - torch.outer(mean, mean)
    scores = torch.einsum("bmo,bmi->boi", s, x).flatten(1)
    expected = torch.linalg.solve(curvature, natural_gradient(scores, energies, 1.0)[1])
    before = vector(ansatz)
    stats = Kfac(ansatz, learning_rate=0.3, damping=0.01, **UNCONSTRAINED).update(positions, energies)
    assert close(vector(ansatz) - before, -0.3 * expected, 1e-9)
    gradient = 2 * natural_gradient(scores, energies, 1.0)[1].norm().item()
    assert stats["grad_norm"].item() == pytest.approx(gradient, rel=1e-10)


@pytest.mark.parametrize("chunk_size", [1, 4, 7])
def test_chunks_give_the_update_of_the_whole(chunk_size, network, batches, vector):
    one, other = (network(LIH, jastrow="cusp", envelope="diagonal") for _ in range(2))
    whole, chunked = Kfac(one, chunk_size=100), Kfac(other, chunk_size=chunk_size)
    for batch in batches(3, n_electrons=4):
        whole.update(*batch)
        chunked.update(*batch)
    torch.testing.assert_close(vector(other), vector(one), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("chunk_size", [4, 100])
def test_a_walker_that_is_not_finite_is_left_out(chunk_size, bad, network, batches, vector):
    with_bad, without = network(Molecule.atom("He"), jastrow="cusp"), network(Molecule.atom("He"), jastrow="cusp")
    one, other = Kfac(with_bad, chunk_size=chunk_size), Kfac(without)
    kept = torch.arange(9) != 4
    for positions, energies in batches(3):
        one.update(torch.where(kept[:, None, None], positions, math.nan), torch.where(kept[:, None], energies, bad))
        other.update(positions[kept], energies[kept])
    torch.testing.assert_close(vector(with_bad), vector(without), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("where", [math.nan, 0.5])
@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_batch_without_a_finite_walker_changes_nothing(lost, where, network, batches, vector):
    ansatz = network(Molecule.atom("He"))
    optimizer = Kfac(ansatz, inverse_every=2)
    for step, (positions, energies) in enumerate(batches(6)):
        before = vector(ansatz)
        if step == lost:
            optimizer.update(torch.full_like(positions, where), torch.full_like(energies, math.nan))
            assert torch.equal(vector(ansatz), before)
        else:
            stats = optimizer.update(positions, energies)
            assert stats["update_norm"] > 0
    assert vector(ansatz).isfinite().all()


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_batch_without_a_finite_walker_leaves_the_averages_alone(lost, network, batches, vector):
    ansatz, other = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer, reference = Kfac(ansatz, inverse_every=1), Kfac(other, inverse_every=1)
    for step, (positions, energies) in enumerate(batches(5)):
        if step == lost:
            optimizer.update(torch.full_like(positions, math.nan), torch.full_like(energies, math.nan))
        optimizer.update(positions, energies)
        reference.update(positions, energies)
    assert torch.equal(vector(ansatz), vector(other))


def test_equal_energies_leave_the_parameters_alone(network, batches, vector):
    ansatz, ((positions, _),) = network(Molecule.atom("He")), batches(1)
    before = vector(ansatz)
    stats = Kfac(ansatz).update(positions, torch.full((9, 1), -3.0, dtype=torch.float64))
    assert torch.equal(vector(ansatz), before)
    assert stats["update_norm"] == 0


@pytest.mark.parametrize("stop", [1, 3, 6, 7])
def test_a_restored_optimizer_continues_exactly(stop, network, batches, vector, through_a_file):
    ansatz, other = network(Molecule.atom("He"), jastrow="cusp"), network(Molecule.atom("He"), jastrow="cusp")
    optimizer, resumed = Kfac(ansatz, inverse_every=3), Kfac(other, inverse_every=3)
    drawn = list(batches(10))
    for batch in drawn[:stop]:
        optimizer.update(*batch)
    other.load_state_dict(through_a_file(ansatz.state_dict()))
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for batch in drawn[stop:]:
        optimizer.update(*batch)
        resumed.update(*batch)
        assert torch.equal(vector(ansatz), vector(other))
    for one, two in ((optimizer.averages, resumed.averages), (optimizer.parts, resumed.parts)):
        assert all(torch.equal(value, two[start][name]) for start in one for name, value in one[start].items())


@pytest.mark.parametrize("largest_full_block", [1, 512])
def test_every_parameter_of_a_network_moves(largest_full_block, network, batches):
    ansatz, ((positions, energies),) = network(LIH, jastrow="cusp", envelope="diagonal"), batches(1, n_electrons=4)
    before = {name: parameter.detach().clone() for name, parameter in ansatz.named_parameters()}
    Kfac(ansatz, largest_full_block=largest_full_block).update(positions, energies)
    assert [name for name, parameter in ansatz.named_parameters() if torch.equal(parameter, before[name])] == []


def test_an_update_leaves_tensors_that_autograd_can_use(network, batches):
    ansatz, ((positions, energies),) = network(Molecule.atom("He")), batches(1)
    optimizer = Kfac(ansatz)
    optimizer.update(positions, energies)
    kept = [*optimizer.averages.values(), *optimizer.parts.values()]
    assert not any(value.is_inference() for block in kept for value in block.values())
    ansatz(positions)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in ansatz.parameters())


def test_float32_parameters_follow_float64_ones(network, batches, vector):
    double, single = network(Molecule.atom("He")), network(Molecule.atom("He")).float()
    start, one, other = vector(double), Kfac(double), Kfac(single)
    for positions, energies in batches(3, 50):
        one.update(positions, energies)
        other.update(positions.float(), energies)
    assert vector(single).dtype == torch.float32
    assert (vector(single).double() - vector(double)).norm() < 1e-3 * (vector(double) - start).norm()


def test_settings_build_the_same_optimizer_again(network):
    settings = {"learning_rate": 0.3, "damping": 0.1, "norm_constraint": 0.4, "covariance_decay": 0.5}
    settings |= {"inverse_every": 2, "largest_full_block": 3, "chunk_size": 5, "constraint_follows_rate": True}
    assert Kfac(network(Molecule.atom("He")), **settings).settings == settings


POSITIVE = ["learning_rate", "damping", "norm_constraint", "inverse_every", "largest_full_block", "chunk_size"]


@pytest.mark.parametrize(
    ("setting", "value"), [*((name, 0) for name in POSITIVE), ("covariance_decay", 1.0), ("covariance_decay", -0.1)]
)
def test_settings_out_of_range(setting, value, network):
    with pytest.raises(ValueError, match=f"{setting}={value} must be"):
        Kfac(network(Molecule.atom("He")), **{setting: value})
