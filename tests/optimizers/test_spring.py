import math

import pytest
import torch
from evaluating import Toy
from torch import nn

from qmcnet import FermiNet, Molecule, NaturalStates, Spring
from qmcnet.optimizers.scores import per_walker_scores

UNCONSTRAINED = {"norm_constraint": 1e9}


class Shifted(Toy):
    """Multiplies psi by a factor with a parameter of its own, whose score is the same for every walker."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.shift = inner, Shift()

    def forward(self, positions):
        sign, log_abs_psi = self.inner(positions)
        return sign, self.shift(log_abs_psi)


class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, log_abs_psi):
        return log_abs_psi + self.value


def dense_direction(scores, energies, previous, momentum, damping):
    """Minimiser of |O phi - e|^2 + damping |phi - momentum phi_old|^2 over all parameters (P x P)."""
    count = len(energies)
    centred = (scores - scores.mean(0)) / math.sqrt(count)
    target = (energies - energies.mean())[:, 0] / math.sqrt(count)
    normal = centred.T @ centred + damping * torch.eye(scores.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, centred.T @ target + damping * momentum * previous)


@pytest.fixture(params=["more-parameters", "more-walkers"])
def ansatz_and_size(request, network, perceptron):
    """A wavefunction and a number of walkers on either side of P = B."""
    return (network(Molecule.atom("He")), 9) if request.param == "more-parameters" else (perceptron(), 40)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_updates_are_those_of_the_dense_formula(momentum, damping, ansatz_and_size, batches, vector, autograd_scores):
    ansatz, size = ansatz_and_size
    optimizer = Spring(ansatz, learning_rate=0.05, momentum=momentum, damping=damping, **UNCONSTRAINED)
    previous = torch.zeros_like(vector(ansatz))
    for positions, energies in batches(4, size):
        scores = autograd_scores(ansatz, positions)
        direction = dense_direction(scores, energies, previous, momentum, damping)
        before = vector(ansatz)
        stats = optimizer.update(positions, energies)
        torch.testing.assert_close(vector(ansatz), before - 0.05 * direction, rtol=1e-8, atol=1e-10)
        assert (optimizer.direction - direction).norm() < 1e-8 * direction.norm()
        gradient = 2 * ((energies - energies.mean()) * scores).mean(0)
        assert stats["grad_norm"].item() == pytest.approx(gradient.norm().item(), rel=1e-9)
        assert stats["update_norm"].item() == pytest.approx(0.05 * direction.norm().item(), rel=1e-8)
        assert not stats["kernel_lifted"]
        previous = direction


@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_without_momentum_it_is_minsr_and_stochastic_reconfiguration(
    damping, ansatz_and_size, batches, vector, autograd_scores
):
    ansatz, size = ansatz_and_size
    ((positions, energies),) = batches(1, size)
    scores = autograd_scores(ansatz, positions)
    centred = (scores - scores.mean(0)) / math.sqrt(size)
    target = (energies - energies.mean())[:, 0] / math.sqrt(size)
    kernel, fisher = centred @ centred.T, centred.T @ centred
    of_walkers = centred.T @ torch.linalg.solve(kernel + damping * torch.eye(size).double(), target)
    of_parameters = torch.linalg.solve(fisher + damping * torch.eye(len(fisher)).double(), centred.T @ target)
    before = vector(ansatz)
    Spring(ansatz, momentum=0.0, damping=damping, learning_rate=0.02, **UNCONSTRAINED).update(positions, energies)
    for direction in (of_walkers, of_parameters):
        assert (vector(ansatz) - before + 0.02 * direction).norm() < 1e-8 * 0.02 * direction.norm()


@pytest.mark.parametrize("chunk_size", [1, 4, 7])
def test_chunks_give_the_update_of_the_whole(chunk_size, network, perceptron, batches):
    for build, size in ((lambda: network(Molecule.atom("He"), jastrow="cusp"), 9), (perceptron, 40)):
        whole, chunked = Spring(build(), chunk_size=100), Spring(build(), chunk_size=chunk_size)
        for batch in batches(3, size):
            whole.update(*batch)
            chunked.update(*batch)
            assert (chunked.direction - whole.direction).norm() < 1e-9 * whole.direction.norm()


class CalledTwice(Toy):
    """Multiplies psi by a factor whose linear layer sees its own output."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        torch.manual_seed(1)
        self.linear = nn.Linear(3, 3).double()

    def forward(self, positions):
        sign, log_abs_psi = self.inner(positions)
        return sign, log_abs_psi + self.linear(self.linear(positions).sin()).cos().sum((-2, -1))


def func_scores(ansatz, positions):
    """Scores by torch.func, all walkers at once."""
    parameters = {name: parameter.detach() for name, parameter in ansatz.named_parameters()}
    scores = torch.func.jacrev(lambda values: torch.func.functional_call(ansatz, values, (positions,))[1])(parameters)
    return torch.cat([scores[name].flatten(1) for name in parameters], 1)


@pytest.mark.parametrize("chunk_size", [4, 100])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "called-twice"])
def test_kernel_gradient_and_direction_are_those_of_dense_scores(wrapped, full, chunk_size, walkers, vector):
    sizes = {"n_layers": 2, "hidden_one": 12, "hidden_two": 4, "n_determinants": 2}
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])
    inner = NaturalStates(FermiNet(molecule, **sizes, full_determinants=full, dtype=torch.float64))
    ansatz = CalledTwice(inner) if wrapped else inner
    optimizer = Spring(ansatz, momentum=0.9, damping=1e-3, chunk_size=chunk_size, **UNCONSTRAINED)
    previous = torch.linspace(-0.01, 0.02, len(vector(ansatz)), dtype=torch.float64)
    optimizer.direction = previous
    positions, energies = walkers(9, 4), walkers(9, 1, 7).sum(2)
    kept = torch.arange(9) != 3
    scores = func_scores(ansatz, positions[kept])
    centred = (scores - scores.mean(0)) / math.sqrt(8)
    target = (energies[kept] - energies[kept].mean())[:, 0] / math.sqrt(8)
    kernel = centred @ centred.T + 1e-3 * torch.eye(8, dtype=torch.float64)
    step = centred.T @ torch.linalg.solve(kernel, target - 0.9 * centred @ previous)
    stats = optimizer.update(positions, torch.where(kept[:, None], energies, math.nan))
    torch.testing.assert_close(optimizer.direction, step + 0.9 * previous, rtol=1e-9, atol=1e-9 * step.abs().max())
    assert stats["grad_norm"].item() == pytest.approx(2 * (centred.T @ target).norm().item(), rel=1e-9)


def test_the_same_input_gives_the_same_bits(walkers):
    directions = []
    for _ in range(2):
        optimizer = Spring(NaturalStates(FermiNet(Molecule.atom("Be"), hidden_one=32, n_determinants=2)))
        for seed in range(3):
            optimizer.update(walkers(50, 4, seed).float(), walkers(50, 1, 9 + seed).sum(2))
        directions.append(optimizer.direction)
    assert torch.equal(*directions)


def test_an_update_leaves_tensors_that_autograd_can_use(network, batches):
    ansatz = network(Molecule.atom("He"))
    optimizer = Spring(ansatz)
    ((positions, energies),) = batches(1)
    optimizer.update(positions, energies)
    assert not optimizer.state_dict()["direction"].is_inference()
    ansatz(positions)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in ansatz.parameters())


def test_float32_directions_are_those_of_float64_algebra(walkers):
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])
    ansatz = NaturalStates(FermiNet(molecule, hidden_one=64, n_determinants=4))
    optimizer = Spring(ansatz, damping=1e-3)
    positions, energies = walkers(48, 4).float(), walkers(48, 1, 7).sum(2)
    scores = per_walker_scores(ansatz, positions, 100).double()
    centred = (scores - scores.mean(0)) / math.sqrt(48)
    target = (energies - energies.mean())[:, 0] / math.sqrt(48)
    kernel = centred @ centred.T + 1e-3 * torch.eye(48, dtype=torch.float64)
    expected = centred.T @ torch.linalg.solve(kernel, target)
    optimizer.update(positions, energies)
    assert (optimizer.direction - expected).norm() < 2e-5 * expected.norm()


@pytest.mark.parametrize("constraint", [1e-6, 1e-3])
def test_the_norm_constraint_shortens_the_step_and_keeps_its_direction(constraint, network, batches, vector):
    free, bound = network(Molecule.atom("He")), network(Molecule.atom("He"))
    start = vector(free)
    ((positions, energies),) = batches(1)
    Spring(free, learning_rate=1.0, **UNCONSTRAINED).update(positions, energies)
    stats = Spring(bound, learning_rate=1.0, norm_constraint=constraint).update(positions, energies)
    long, short = vector(free) - start, vector(bound) - start
    assert long.norm() > math.sqrt(constraint)
    assert short.norm().item() == pytest.approx(math.sqrt(constraint), rel=1e-9)
    assert stats["update_norm"].item() == pytest.approx(math.sqrt(constraint), rel=1e-9)
    torch.testing.assert_close(short / short.norm(), long / long.norm(), rtol=1e-8, atol=1e-10)


def test_the_constraint_does_not_shorten_the_remembered_direction(network, batches):
    ((positions, energies),) = batches(1)
    one, other = (Spring(network(Molecule.atom("He")), norm_constraint=limit) for limit in (1e9, 1e-6))
    one.update(positions, energies)
    other.update(positions, energies)
    assert torch.equal(one.direction, other.direction)


def test_the_rate_is_scaled_and_the_remembered_direction_is_not(network, batches, vector):
    full, half = network(Molecule.atom("He")), network(Molecule.atom("He"))
    start = vector(full)
    one, other = Spring(full, learning_rate=0.04, **UNCONSTRAINED), Spring(half, learning_rate=0.04, **UNCONSTRAINED)
    ((positions, energies),) = batches(1)
    assert one.update(positions, energies)["learning_rate"] == pytest.approx(0.04)
    assert other.update(positions, energies, scale=0.5)["learning_rate"] == pytest.approx(0.02)
    torch.testing.assert_close(2 * (vector(half) - start), vector(full) - start, rtol=1e-9, atol=1e-12)
    assert torch.equal(one.direction, other.direction)


def test_equal_energies_leave_the_parameters_alone(network, batches, vector):
    ansatz = network(Molecule.atom("He"))
    ((positions, _),) = batches(1)
    before = vector(ansatz)
    stats = Spring(ansatz).update(positions, torch.full((9, 1), -3.0, dtype=torch.float64))
    assert torch.equal(vector(ansatz), before)
    assert stats["update_norm"] == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_walker_that_is_not_finite_is_left_out(bad, network, perceptron, batches, vector):
    for build, size in ((lambda: network(Molecule.atom("He")), 9), (perceptron, 40)):
        with_bad, without = build(), build()
        one, other = Spring(with_bad, **UNCONSTRAINED), Spring(without, **UNCONSTRAINED)
        for positions, energies in batches(3, size):
            kept = torch.arange(size) != 4
            one.update(torch.where(kept[:, None, None], positions, math.nan), torch.where(kept[:, None], energies, bad))
            other.update(positions[kept], energies[kept])
        torch.testing.assert_close(vector(with_bad), vector(without), rtol=1e-7, atol=1e-9)


def test_a_batch_without_a_finite_walker_is_forgotten(ansatz_and_size, batches, vector):
    ansatz, size = ansatz_and_size
    optimizer = Spring(ansatz)
    first, second = batches(2, size)
    optimizer.update(*first)
    direction = optimizer.direction.clone()
    optimizer.update(torch.full_like(first[0], math.nan), torch.full_like(first[1], math.nan))
    assert torch.equal(optimizer.direction, direction)
    optimizer.update(*second)
    assert vector(ansatz).isfinite().all()


def test_a_constant_factor_of_psi_changes_nothing_and_is_not_changed(network, batches, vector):
    plain, shifted = network(Molecule.atom("He")), Shifted(network(Molecule.atom("He")))
    one, other = Spring(plain, **UNCONSTRAINED), Spring(shifted, **UNCONSTRAINED)
    for positions, energies in batches(3):
        one.update(positions, energies)
        other.update(positions, energies - 11.0)
    torch.testing.assert_close(vector(shifted.inner), vector(plain), rtol=1e-8, atol=1e-9)
    assert shifted.shift.value.item() == pytest.approx(0.3, abs=1e-12)


def test_a_restored_optimizer_continues_exactly(network, batches, vector, through_a_file):
    ansatz, other = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer, resumed = Spring(ansatz), Spring(other)
    first, *others = batches(4)
    optimizer.update(*first)
    other.load_state_dict(through_a_file(ansatz.state_dict()))
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for batch in others:
        optimizer.update(*batch)
        resumed.update(*batch)
    assert torch.equal(vector(ansatz), vector(other))
    assert torch.equal(optimizer.direction, resumed.direction)


def test_settings_build_the_same_optimizer_again(network):
    settings = {"learning_rate": 0.3, "momentum": 0.2, "damping": 0.1, "norm_constraint": 0.4, "chunk_size": 5}
    settings |= {"constraint_follows_rate": True, "leave_one_out": True}
    assert Spring(network(Molecule.atom("He")), **settings).settings == settings


def test_float32_parameters_follow_float64_ones(network, batches, vector):
    double, single = network(Molecule.atom("He")), network(Molecule.atom("He")).float()
    one, other = Spring(double, damping=0.1), Spring(single, damping=0.1)
    for positions, energies in batches(3):
        one.update(positions, energies)
        other.update(positions.float(), energies)
    assert vector(single).dtype == torch.float32
    torch.testing.assert_close(vector(single).double(), vector(double), rtol=0, atol=1e-4)


OUT_OF_RANGE = [("learning_rate", -1.0), ("damping", 0.0), ("norm_constraint", 0.0), ("chunk_size", 0)]


@pytest.mark.parametrize(("setting", "value"), [*OUT_OF_RANGE, ("momentum", 1.0), ("momentum", -0.1)])
def test_settings_out_of_range(setting, value, network):
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        Spring(network(Molecule.atom("He")), **{setting: value})


def test_a_kernel_that_is_not_positive_definite_leaves_the_update_out(monkeypatch, ansatz_and_size, batches, vector):
    ansatz, size = ansatz_and_size
    ((positions, energies),) = batches(1, size)
    exact = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda kernel: exact(kernel - 1e9 * torch.eye(len(kernel))))
    before, optimizer = vector(ansatz), Spring(ansatz)
    update = optimizer.update(positions, energies)
    assert update["skipped"]
    assert update["update_norm"] == 0
    assert torch.equal(vector(ansatz), before)
    assert (optimizer.direction == 0).all()
