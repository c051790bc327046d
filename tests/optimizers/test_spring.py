import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from qmcnet import FermiNet, Molecule, Spring
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.optimizers.spring import robust_cholesky

UNCONSTRAINED = {"norm_constraint": 1e9, "decay_steps": None, "clip": 0}


class Shifted(nn.Module):
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


def vector(ansatz):
    return parameters_to_vector(ansatz.parameters()).detach().clone()


def batches(walkers, count, size=9):
    """Positions and energies that change from step to step."""
    for seed in range(count):
        yield walkers(size, 2, seed), walkers(size, 1, 100 + seed).sum((1, 2))


def dense_direction(scores, energies, previous, momentum, damping):
    """Minimiser of |O phi - e|^2 + damping |phi - momentum phi_old|^2 over all parameters (P x P)."""
    count = len(energies)
    centred = (scores - scores.mean(0)) / math.sqrt(count)
    target = (energies - energies.mean()) / math.sqrt(count)
    normal = centred.T @ centred + damping * torch.eye(scores.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, centred.T @ target + damping * momentum * previous)


@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.99])
@pytest.mark.parametrize("damping", [1e-3, 0.1])
def test_updates_are_those_of_the_dense_formula(momentum, damping, network, walkers, autograd_scores):
    ansatz = network(Molecule.atom("He"))
    optimizer = Spring(ansatz, learning_rate=0.05, momentum=momentum, damping=damping, **UNCONSTRAINED)
    previous = torch.zeros_like(vector(ansatz))
    for positions, energies in batches(walkers, 4):
        scores = autograd_scores(ansatz, positions)
        direction = dense_direction(scores, energies, previous, momentum, damping)
        before = vector(ansatz)
        stats = optimizer.update(positions, energies)
        torch.testing.assert_close(vector(ansatz), before - 0.05 * direction, rtol=1e-8, atol=1e-10)
        gradient = 2 * ((energies - energies.mean())[:, None] * scores).mean(0)
        assert stats["grad_norm"].item() == pytest.approx(gradient.norm().item(), rel=1e-9)
        assert stats["update_norm"].item() == pytest.approx(0.05 * direction.norm().item(), rel=1e-8)
        previous = direction


class CalledTwice(nn.Module):
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
def test_kernel_gradient_and_direction_are_those_of_dense_scores(wrapped, full, chunk_size, walkers):
    sizes = {"n_layers": 2, "hidden_one": 12, "hidden_two": 4, "n_determinants": 2}
    molecule = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])
    inner = FermiNet(molecule, **sizes, full_determinants=full, dtype=torch.float64)
    ansatz = CalledTwice(inner) if wrapped else inner
    optimizer = Spring(ansatz, momentum=0.9, damping=1e-3, chunk_size=chunk_size, **UNCONSTRAINED)
    previous = torch.linspace(-0.01, 0.02, len(vector(ansatz)), dtype=torch.float64)
    optimizer.direction = previous
    positions, energies = walkers(9, 4), walkers(9, 1, 7).sum((1, 2))
    kept = torch.arange(9) != 3
    scores = func_scores(ansatz, positions[kept])
    centred = (scores - scores.mean(0)) / math.sqrt(8)
    target = (energies[kept] - energies[kept].mean()) / math.sqrt(8)
    kernel = centred @ centred.T + 1e-3 * torch.eye(8, dtype=torch.float64)
    step = centred.T @ torch.linalg.solve(kernel, target - 0.9 * centred @ previous)
    stats = optimizer.update(positions, torch.where(kept, energies, math.nan))
    torch.testing.assert_close(optimizer.direction, step + 0.9 * previous, rtol=1e-9, atol=1e-9 * step.abs().max())
    assert stats["grad_norm"].item() == pytest.approx(2 * (centred.T @ target).norm().item(), rel=1e-9)


def test_the_same_input_gives_the_same_bits(walkers):
    directions = []
    for _ in range(2):
        optimizer = Spring(FermiNet(Molecule.atom("Be"), hidden_one=32, n_determinants=2))
        for seed in range(3):
            optimizer.update(walkers(50, 4, seed).float(), walkers(50, 1, 9 + seed).sum((1, 2)))
        directions.append(optimizer.direction)
    assert torch.equal(*directions)


def test_an_update_leaves_tensors_that_autograd_can_use(network, walkers):
    ansatz = network(Molecule.atom("He"))
    optimizer = Spring(ansatz)
    ((positions, energies),) = batches(walkers, 1)
    optimizer.update(positions, energies)
    assert not optimizer.state_dict()["direction"].is_inference()
    ansatz(positions)[1].sum().backward()
    assert all(parameter.grad is not None for parameter in ansatz.parameters())


def test_float32_directions_are_those_of_float64_algebra(walkers):
    ansatz = FermiNet(Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]]), hidden_one=64, n_determinants=4)
    optimizer = Spring(ansatz, damping=1e-3)
    positions, energies = walkers(48, 4).float(), walkers(48, 1, 7).sum((1, 2))
    scores = per_walker_scores(ansatz, positions, 100).double()
    centred = (scores - scores.mean(0)) / math.sqrt(48)
    target = (energies - energies.mean()) / math.sqrt(48)
    kernel = centred @ centred.T + 1e-3 * torch.eye(48, dtype=torch.float64)
    expected = centred.T @ torch.linalg.solve(kernel, target)
    optimizer.update(positions, energies)
    assert (optimizer.direction - expected).norm() < 2e-5 * expected.norm()


def test_without_momentum_it_solves_minsr_in_the_space_of_walkers(network, walkers, autograd_scores):
    ansatz = network(Molecule.atom("He"))
    (positions, energies) = next(batches(walkers, 1))
    scores = autograd_scores(ansatz, positions)
    centred = (scores - scores.mean(0)) / 3  # sqrt of 9 walkers
    target = (energies - energies.mean()) / 3
    kernel = centred @ centred.T + 1e-3 * torch.eye(9, dtype=torch.float64)
    expected = vector(ansatz) - 0.02 * centred.T @ torch.linalg.solve(kernel, target)
    Spring(ansatz, momentum=0.0, damping=1e-3, learning_rate=0.02, **UNCONSTRAINED).update(positions, energies)
    torch.testing.assert_close(vector(ansatz), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("constraint", [1e-6, 1e-3])
def test_the_norm_constraint_shortens_the_step_and_keeps_its_direction(constraint, network, walkers):
    free, bound = network(Molecule.atom("He")), network(Molecule.atom("He"))
    start = vector(free)
    (positions, energies) = next(batches(walkers, 1))
    settings = {"learning_rate": 1.0, "decay_steps": None, "clip": 0}
    Spring(free, norm_constraint=1e9, **settings).update(positions, energies)
    stats = Spring(bound, norm_constraint=constraint, **settings).update(positions, energies)
    long, short = vector(free) - start, vector(bound) - start
    assert long.norm() > math.sqrt(constraint)
    assert short.norm().item() == pytest.approx(math.sqrt(constraint), rel=1e-9)
    assert stats["update_norm"].item() == pytest.approx(math.sqrt(constraint), rel=1e-9)
    torch.testing.assert_close(short / short.norm(), long / long.norm(), rtol=1e-8, atol=1e-10)


def test_the_constraint_does_not_shorten_the_remembered_direction(network, walkers):
    free, bound = network(Molecule.atom("He")), network(Molecule.atom("He"))
    (positions, energies) = next(batches(walkers, 1))
    one, other = Spring(free, norm_constraint=1e9), Spring(bound, norm_constraint=1e-6)
    one.update(positions, energies)
    other.update(positions, energies)
    assert torch.equal(one.direction, other.direction)


def test_equal_energies_leave_the_parameters_alone(network, walkers):
    ansatz = network(Molecule.atom("He"))
    (positions, _) = next(batches(walkers, 1))
    before = vector(ansatz)
    stats = Spring(ansatz).update(positions, torch.full((9,), -3.0, dtype=torch.float64))
    assert torch.equal(vector(ansatz), before)
    assert stats["update_norm"] == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_walker_that_is_not_finite_is_left_out(bad, network, walkers):
    with_bad, without = network(Molecule.atom("He")), network(Molecule.atom("He"))
    one, other = Spring(with_bad, **UNCONSTRAINED), Spring(without, **UNCONSTRAINED)
    for positions, energies in batches(walkers, 3):
        poisoned = energies.clone()
        poisoned[4] = bad
        kept = torch.arange(9) != 4
        one.update(torch.where(kept[:, None, None], positions, math.nan), poisoned)
        other.update(positions[kept], energies[kept])
    torch.testing.assert_close(vector(with_bad), vector(without), rtol=1e-7, atol=1e-9)


def test_a_constant_factor_of_psi_changes_nothing_and_is_not_changed(network, walkers):
    plain, shifted = network(Molecule.atom("He")), Shifted(network(Molecule.atom("He")))
    one, other = Spring(plain, **UNCONSTRAINED), Spring(shifted, **UNCONSTRAINED)
    for positions, energies in batches(walkers, 3):
        one.update(positions, energies)
        other.update(positions, energies - 11.0)
    torch.testing.assert_close(vector(shifted.inner), vector(plain), rtol=1e-8, atol=1e-9)
    assert shifted.shift.value.item() == pytest.approx(0.3, abs=1e-12)


def test_a_restored_optimizer_continues_exactly(network, walkers):
    ansatz = network(Molecule.atom("He"))
    optimizer = Spring(ansatz, decay_steps=5)
    (first, second) = batches(walkers, 2)
    optimizer.update(*first)
    other = network(Molecule.atom("He"))
    other.load_state_dict(ansatz.state_dict())
    resumed = Spring(other, decay_steps=5)
    resumed.load_state_dict(optimizer.state_dict())
    stats, again = optimizer.update(*second), resumed.update(*second)
    assert stats["learning_rate"] == again["learning_rate"] == pytest.approx(0.02 / 1.2)
    assert torch.equal(vector(ansatz), vector(other))
    assert torch.equal(optimizer.direction, resumed.direction)


def test_float32_parameters_follow_float64_ones(network, walkers):
    double, single = network(Molecule.atom("He")), network(Molecule.atom("He")).float()
    one, other = Spring(double, damping=0.1), Spring(single, damping=0.1)
    for positions, energies in batches(walkers, 3):
        one.update(positions, energies)
        other.update(positions.float(), energies)
    assert vector(single).dtype == torch.float32
    torch.testing.assert_close(vector(single).double(), vector(double), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", -1.0),
        ("damping", 0.0),
        ("norm_constraint", 0.0),
        ("chunk_size", 0),
        ("momentum", 1.0),
        ("momentum", -0.1),
    ],
)
def test_settings_out_of_range(setting, value, network):
    with pytest.raises(ValueError, match=f"{setting}={value}"):
        Spring(network(Molecule.atom("He")), **{setting: value})


def test_a_kernel_that_is_not_positive_definite_shows_in_the_update(monkeypatch):
    ansatz = FermiNet(
        Molecule.atom("He"), n_layers=1, hidden_one=4, hidden_two=2, n_determinants=1, dtype=torch.float64
    )
    optimizer = Spring(ansatz, damping=1e-3)
    positions = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda kernel: exact(kernel - 1e9 * torch.eye(6).double()))
    update = optimizer.update(positions, torch.arange(6.0, dtype=torch.float64))
    assert torch.isnan(update["update_norm"])


def test_a_kernel_made_indefinite_by_rounding_is_damped_at_the_level_of_rounding():
    vectors = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    good = vectors * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1], dtype=torch.float64) @ vectors.mT
    factor = robust_cholesky(good, 1e-3)
    torch.testing.assert_close(factor @ factor.mT, good, rtol=1e-12, atol=1e-12)
    bad = vectors * torch.tensor([3.0, 2.0, 1.0, 0.5, -1e-3], dtype=torch.float64) @ vectors.mT
    factor = robust_cholesky(bad, 1e-3)
    lifted = bad + 1e-3 * bad.trace() * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(factor @ factor.mT, lifted, rtol=1e-12, atol=1e-12)
    assert robust_cholesky(bad, 1e-6).isnan().all()
