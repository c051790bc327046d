import math
from functools import partial

import pytest
import torch
from evaluating import Toy
from hydra.utils import instantiate
from pytorch_optimizer import Lamb
from scipy.stats import gamma
from torch import nn

from qmcnet import FirstOrder, Molecule


class Slater(Toy):
    """exp(-zeta r) for one electron: E(zeta) = zeta^2 / 2 - zeta in the field of a proton."""

    def __init__(self, zeta):
        super().__init__()
        self.zeta = nn.Parameter(torch.tensor(zeta, dtype=torch.float64))

    def forward(self, positions):
        log_abs_psi = -self.zeta * positions.norm(dim=-1).sum(-1)
        return torch.ones_like(log_abs_psi), log_abs_psi

    def local_energy(self, positions):
        r = positions.norm(dim=-1).sum(-1)
        return (-self.zeta.square() / 2 + (self.zeta - 1) / r).detach()[:, None]


def quantiles(zeta, count):
    """Points that carry equal shares of |psi|^2: its radial density is r^2 exp(-2 zeta r)."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    positions = torch.zeros(count, 1, 3, dtype=torch.float64)
    positions[:, 0, 2] = torch.from_numpy(gamma.ppf(shares.numpy(), 3, scale=1 / (2 * zeta)))
    return positions


@pytest.fixture
def helium(network):
    return network(Molecule.atom("He"))


@pytest.fixture
def step_of_descent(vector):
    """Make one step of plain gradient descent at rate 1."""

    def step(ansatz, positions, energies, **settings):
        before = vector(ansatz)
        optimizer = FirstOrder(ansatz, method=torch.optim.SGD, learning_rate=1.0, **settings)
        stats = optimizer.update(positions, energies)
        return before - vector(ansatz), stats

    return step


@pytest.mark.parametrize("zeta", [0.7, 1.0, 1.4])
def test_gradient_is_the_derivative_of_the_hydrogen_energy(zeta, step_of_descent):
    ansatz = Slater(zeta)
    positions = quantiles(zeta, 100_000)
    gradient, _ = step_of_descent(ansatz, positions, ansatz.local_energy(positions), chunk_size=10**6)
    assert gradient.item() == pytest.approx(zeta - 1, abs=1e-3)


def test_gradient_is_the_finite_difference_of_the_reweighted_energy(step_of_descent):
    zeta, step = 1.3, 1e-4
    positions = quantiles(zeta, 100_000)
    log_at_zeta = Slater(zeta)(positions)[1].detach()

    def energy(value):
        trial = Slater(value)
        weights = (2 * (trial(positions)[1].detach() - log_at_zeta)).exp()
        return (weights * trial.local_energy(positions)[:, 0]).sum() / weights.sum()

    difference = (energy(zeta + step) - energy(zeta - step)) / (2 * step)
    ansatz = Slater(zeta)
    gradient, _ = step_of_descent(ansatz, positions, ansatz.local_energy(positions), chunk_size=10**6)
    assert gradient.item() == pytest.approx(difference.item(), abs=1e-3)


@pytest.mark.parametrize("chunk_size", [3, 100])
def test_gradient_is_twice_the_covariance_of_scores_and_energies(
    chunk_size, network, walkers, autograd_scores, step_of_descent
):
    ansatz, positions = network(Molecule.atom("Be"), jastrow="cusp"), walkers(8, 4)
    energies = walkers(8, 1).sum(2)
    expected = 2 * ((energies - energies.mean()) * autograd_scores(ansatz, positions)).mean(0)
    gradient, stats = step_of_descent(ansatz, positions, energies, chunk_size=chunk_size)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
    assert float(stats["grad_norm"]) == pytest.approx(expected.norm().item(), rel=1e-10)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_walker_that_is_not_finite_is_left_out(bad, network, walkers, step_of_descent):
    positions, energies = walkers(6, 2), walkers(6, 1).sum(2)
    poisoned = energies.clone()
    poisoned[2] = bad
    kept = torch.arange(6) != 2
    lost = torch.where(kept[:, None, None], positions, math.nan)
    gradient, _ = step_of_descent(network(Molecule.atom("He")), lost, poisoned)
    expected, _ = step_of_descent(network(Molecule.atom("He")), positions[kept], energies[kept])
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


def test_a_batch_without_a_finite_walker_does_not_poison_the_parameters(helium, batches, vector):
    optimizer = FirstOrder(helium)
    first, second = batches(2)
    optimizer.update(*first)
    optimizer.update(torch.full_like(first[0], math.nan), torch.full_like(first[1], math.nan))
    optimizer.update(*second)
    assert vector(helium).isfinite().all()


def test_a_long_gradient_is_shortened_to_the_limit_and_keeps_its_direction(network, batches, step_of_descent):
    ((positions, energies),) = batches(1)
    free, stats = step_of_descent(network(Molecule.atom("He")), positions, energies)
    limit = 0.3 * free.norm().item()
    short, also = step_of_descent(network(Molecule.atom("He")), positions, energies, max_grad_norm=limit)
    torch.testing.assert_close(short, 0.3 * free, rtol=1e-5, atol=1e-12)
    for norm in (stats["grad_norm"], also["grad_norm"]):
        assert norm.item() == pytest.approx(free.norm().item(), rel=1e-10)


def test_a_short_gradient_keeps_its_bits(network, batches, step_of_descent):
    ((positions, energies),) = batches(1)
    free, _ = step_of_descent(network(Molecule.atom("He")), positions, energies)
    limit = 1.01 * free.norm().item()
    bound, _ = step_of_descent(network(Molecule.atom("He")), positions, energies, max_grad_norm=limit)
    assert torch.equal(bound, free)


METHODS = {
    "adam": torch.optim.Adam,
    "adam-betas": partial(torch.optim.Adam, betas=(0.5, 0.9)),
    "adamw": partial(torch.optim.AdamW, weight_decay=0.1),
    "momentum": partial(torch.optim.SGD, momentum=0.9),
    "lamb": Lamb,
}


@pytest.mark.parametrize("name", METHODS)
def test_any_torch_optimizer_gets_the_gradient_and_a_scaled_rate(name, network, batches, vector):
    ansatz, reference = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer = FirstOrder(ansatz, method=METHODS[name], learning_rate=1e-2)
    by_hand = METHODS[name](reference.parameters(), lr=1e-2)
    for step, (positions, energies) in enumerate(batches(3)):
        stats = optimizer.update(positions, energies, scale=1 / (1 + step))
        loss = 2 * ((energies - energies.mean())[:, 0] * reference(positions)[1]).mean()
        by_hand.zero_grad()
        loss.backward()
        by_hand.param_groups[0]["lr"] = 1e-2 / (1 + step)
        by_hand.step()
        assert stats["learning_rate"] == pytest.approx(1e-2 / (1 + step))
    torch.testing.assert_close(vector(ansatz), vector(reference), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("method", "factor"), [(Lamb, 10.0), (partial(Lamb, adam_debias=True), 1.0)])
@pytest.mark.parametrize("length", [0.0, 0.7, 25.0])
def test_a_step_of_lamb_goes_with_the_length_of_the_weights_up_to_ten(
    length, method, factor, linear_model, batches, vector
):
    ansatz = linear_model(5)
    with torch.no_grad():
        ansatz.layer.weight.mul_(length / ansatz.layer.weight.norm())
    before = vector(ansatz)
    ((positions, energies),) = batches(1)
    gradient = 2 * ((energies - energies.mean()) * ansatz.features(positions)).mean(0)
    FirstOrder(ansatz, method=method, learning_rate=0.1).update(positions, energies)
    adam = 0.1 * gradient / ((0.001 * gradient.square()).sqrt() + 1e-6)  # averages start from zero
    trust = min(length, 10.0) / (adam.norm() + 1e-6) if length else 1.0
    # Unless told otherwise, the package divides the rate by 1 - 0.9, the bias of the first average.
    torch.testing.assert_close(vector(ansatz), before - factor * 0.1 * trust * adam, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_settings_build_the_same_optimizer_again(name, network, batches, vector):
    ansatz, other = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer = FirstOrder(ansatz, method=METHODS[name], learning_rate=3e-3, max_grad_norm=0.5, chunk_size=5)
    target = {"_target_": "qmcnet.optimizers.FirstOrder", "_partial_": True}
    again = instantiate({**target, **optimizer.settings}, _convert_="all")(other)
    assert type(again.optimizer) is type(optimizer.optimizer)
    assert (again.learning_rate, again.max_grad_norm, again.chunks.most) == (3e-3, 0.5, 5)
    for batch in batches(3):
        optimizer.update(*batch)
        again.update(*batch)
    assert torch.equal(vector(ansatz), vector(other))


@pytest.mark.parametrize("name", METHODS)
def test_a_restored_optimizer_continues_exactly(name, network, batches, vector, through_a_file):
    ansatz, other = network(Molecule.atom("He")), network(Molecule.atom("He"))
    optimizer, resumed = (FirstOrder(network, method=METHODS[name], learning_rate=1e-2) for network in (ansatz, other))
    first, *others = batches(4)
    optimizer.update(*first)
    other.load_state_dict(through_a_file(ansatz.state_dict()))
    resumed.load_state_dict(through_a_file(optimizer.state_dict()))
    for batch in others:
        optimizer.update(*batch)
        resumed.update(*batch)
    assert torch.equal(vector(ansatz), vector(other))


def no_optimizer(parameters, lr):
    return [lr, *parameters]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (torch.optim.LBFGS, r"LBFGS must be a torch optimiser that needs one dense gradient a step"),
        (torch.optim.SparseAdam, r"SparseAdam must be a torch optimiser"),
        (no_optimizer, r"no_optimizer must be a torch optimiser"),
        (nn.Linear, r"Linear does not take these arguments"),
        (partial(torch.optim.Adam, beta=0.9), r"Adam does not take these arguments.*beta"),
        (partial(torch.optim.Adam, lr=0.1), r"method lr=0\.1: give the rate as learning_rate"),
        ("Adam", r"method=.?Adam"),
        (None, r"method=None"),
    ],
    ids=["lbfgs", "sparse", "function", "module", "argument", "rate", "text", "nothing"],
)
def test_what_is_no_first_order_optimizer_is_refused(method, message, helium):
    with pytest.raises(ValueError, match=message):
        FirstOrder(helium, method=method)


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("learning_rate", 0.0, "positive"),
        ("chunk_size", 0, "at least 1"),
        ("max_grad_norm", 0.0, "positive"),
        ("max_grad_norm", -1.0, "positive"),
    ],
)
def test_settings_out_of_range(setting, value, limit, helium):
    with pytest.raises(ValueError, match=f"{setting}={value} must be {limit}"):
        FirstOrder(helium, **{setting: value})
