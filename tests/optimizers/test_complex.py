"""Complex wavefunctions: the gradient of the energy and the metric of modulus and phase.

One electron in a harmonic trap, psi = exp(u + i v) with u = a.f and v = c.f for the features f = (r^2, x, y, z).
|psi|^2 is a normal distribution, for which 216 walkers of equal weight integrate polynomials of degree five exactly.
"""

import itertools
import math
from functools import partial

import pytest
import torch
from evaluating import Toy
from torch import nn
from torch.nn.utils import parameters_to_vector

from qmcnet import FermiNet, FirstOrder, ForwardLaplacian, LocalEnergy, Molecule, Natural, NaturalStates, Spring
from qmcnet.optimizers import Kfac
from qmcnet.optimizers.gradient import centred, without_lost_walkers
from qmcnet.optimizers.least_squares import normal_equations
from qmcnet.optimizers.scores import per_walker_scores, score_operator

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.0, "bohr")


class Wave(Toy):
    """exp(a.f + i c.f) of one electron, with a norm but for the constant."""

    def __init__(self, modulus, phase):
        super().__init__()
        self.modulus, self.phase = (nn.Linear(4, 1, bias=False, dtype=DOUBLE) for _ in range(2))
        with torch.no_grad():
            self.modulus.weight.copy_(torch.tensor([modulus]))
            self.phase.weight.copy_(torch.tensor([phase]))

    def forward(self, positions):
        r = positions[:, 0]
        features = torch.cat([r.square().sum(-1, keepdim=True), r], -1)
        phase = self.phase(features)[:, 0]
        return torch.complex(torch.cos(phase), torch.sin(phase)), self.modulus(features)[:, 0]


class Superposition(Toy):
    """psi = sum_k w_k exp(i k.r) exp(-r^2) of which a module returns the complex terms."""

    def __init__(self):
        super().__init__()
        self.waves = Waves()

    def forward(self, positions):
        r = positions[:, 0]
        psi = self.waves(r).sum(-1)
        return psi.sgn(), psi.abs().log() - r.square().sum(-1)


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        draws = torch.randn(5, 5, generator=torch.Generator().manual_seed(8), dtype=DOUBLE)
        self.weight, self.vectors = nn.Parameter(draws[:1]), nn.Parameter(draws[1:])

    def forward(self, r):
        phase = r @ self.vectors[:3]
        return self.weight * torch.complex(torch.cos(phase), torch.sin(phase) * self.vectors[3])


class TrackedWave(nn.Module):
    """The same, for the forward Laplacian, to which the phase is part of the logarithm."""

    def __init__(self, wave):
        super().__init__()
        self.wave = wave

    def forward(self, positions):
        r = positions[:, 0]
        features = torch.cat([r.square().sum(-1, keepdim=True), r], -1)
        return torch.complex(self.wave.modulus(features)[:, 0], self.wave.phase(features)[:, 0])


@pytest.fixture
def wave():
    return Wave([-0.4, 0.1, 0.0, -0.2], [0.15, 0.3, -0.5, 0.2])


def cubature(wave):
    """Walkers of equal weight in the normal distribution |psi|^2."""
    a, *b = wave.modulus.weight.detach()[0].tolist()
    centre, deviation = torch.tensor(b, dtype=DOUBLE) / (-2 * a), math.sqrt(-1 / (4 * a))
    nodes = [-math.sqrt(3), 0.0, 0.0, 0.0, 0.0, math.sqrt(3)]
    return (centre + deviation * torch.tensor(list(itertools.product(nodes, repeat=3)), dtype=DOUBLE))[:, None]


def exact_energy(modulus, phase):
    """<-1/2 lap + r^2 / 2> = 1/2 <|grad log psi|^2 + r^2>."""
    a, b, c, d = modulus[0], modulus[1:], phase[0], phase[1:]
    centre, variance = b / (-2 * a), -1 / (4 * a)  # of each coordinate
    squares = centre.square().sum() + 3 * variance
    real = (2 * a * centre + b).square().sum() + 4 * a**2 * 3 * variance
    imag = (2 * c * centre + d).square().sum() + 4 * c**2 * 3 * variance
    return (real + imag + squares) / 2


def local_energy(wave, positions):
    with torch.no_grad():
        log_psi = ForwardLaplacian()(TrackedWave(wave), positions)
    kinetic = -0.5 * (log_psi.laplacian + log_psi.gradient.square().sum((-2, -1)))
    return kinetic + positions.square().sum((-2, -1)) / 2


def real_parts(energies):
    """What optimisers see of complex energies, (B, 2)."""
    return torch.view_as_real(energies)


def test_local_energies_average_to_the_exact_energy(wave):
    energies = local_energy(wave, cubature(wave))
    expected = exact_energy(wave.modulus.weight[0], wave.phase.weight[0]).item()
    assert energies.dtype == torch.complex128
    assert energies.real.mean().item() == pytest.approx(expected, abs=1e-12)
    assert energies.imag.mean().item() == pytest.approx(0, abs=1e-12)
    assert energies.imag.std() > 0.1


def gradient_of_the_energy(wave):
    parameters = [parameter[0].detach().requires_grad_() for parameter in wave.parameters()]
    return torch.cat(torch.autograd.grad(exact_energy(*parameters), parameters))


def quantum_geometric_tensor(wavefunction, positions):
    """Covariance of the complex scores, walker by walker."""
    rows = []
    for walker in positions:
        _, log_abs = wavefunction(walker[None])
        real = torch.autograd.grad(log_abs.sum(), list(wavefunction.parameters()), allow_unused=True)
        sign, _ = wavefunction(walker[None])
        angle = sign.log().imag
        imag = torch.autograd.grad(angle.sum(), list(wavefunction.parameters()), allow_unused=True)
        parts = [
            torch.complex(*(torch.zeros_like(p) if g is None else g for g in pair)).flatten()
            for p, *pair in zip(wavefunction.parameters(), real, imag, strict=True)
        ]
        rows.append(torch.cat(parts))
    scores = torch.stack(rows)
    scores = scores - scores.mean(0)
    return scores, scores.mH @ scores / len(scores)


@pytest.mark.parametrize("chunk_size", [50, 216])
def test_first_order_optimisers_follow_the_exact_gradient(wave, chunk_size, vector):
    positions, before, gradient = cubature(wave), vector(wave), gradient_of_the_energy(wave)
    optimizer = FirstOrder(wave, method=torch.optim.SGD, learning_rate=1.0, chunk_size=chunk_size)
    stats = optimizer.update(positions, real_parts(local_energy(wave, positions)))
    torch.testing.assert_close(vector(wave) - before, -gradient, rtol=1e-10, atol=1e-10)
    assert stats["grad_norm"].item() == pytest.approx(gradient.norm().item())
    assert gradient.abs().min() > 1e-2


@pytest.mark.parametrize("chunk_size", [50, 216])
def test_spring_divides_the_exact_gradient_by_the_real_part_of_the_geometric_tensor(wave, chunk_size, vector):
    positions, before, gradient = cubature(wave), vector(wave), gradient_of_the_energy(wave)
    _, tensor = quantum_geometric_tensor(wave, positions)
    energies = real_parts(local_energy(wave, positions))
    optimizer = Spring(wave, learning_rate=1, momentum=0, damping=1e-2, norm_constraint=1e9, chunk_size=chunk_size)
    stats = optimizer.update(positions, energies)
    expected = torch.linalg.solve(tensor.real + 1e-2 * torch.eye(8, dtype=DOUBLE), gradient / 2)
    torch.testing.assert_close(vector(wave) - before, -expected, rtol=1e-9, atol=1e-9)
    assert stats["grad_norm"].item() == pytest.approx(gradient.norm().item())


def test_kfac_divides_the_exact_gradient_by_the_blocks_of_the_geometric_tensor(wave, vector):
    """Layers that are called once have exact blocks, and here no block has parameters of both functions."""
    positions, before, gradient = cubature(wave), vector(wave), gradient_of_the_energy(wave)
    _, tensor = quantum_geometric_tensor(wave, positions)
    energies = real_parts(local_energy(wave, positions))
    Kfac(wave, learning_rate=1, damping=1e-14, norm_constraint=1e9).update(positions, energies)
    blocks = [torch.linalg.solve(tensor.real[i : i + 4, i : i + 4], gradient[i : i + 4] / 2) for i in (0, 4)]
    torch.testing.assert_close(vector(wave) - before, -torch.cat(blocks), rtol=1e-5, atol=1e-5)


def network(molecule=LIH, **options):
    sizes = {"n_layers": 1, "hidden_one": 4, "hidden_two": 3, "n_determinants": 2, "jastrow": "cusp"}
    ansatz = NaturalStates(FermiNet(molecule, **sizes, **options, complex=True, dtype=DOUBLE))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in ansatz.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE))
    return ansatz


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_scores_are_those_of_modulus_and_phase(chunk_size, walkers):
    ansatz, positions = network(), walkers(5, 4)
    scores = per_walker_scores(ansatz, positions, chunk_size)
    complex_scores, _ = quantum_geometric_tensor(ansatz, positions)
    assert scores.shape == (10, complex_scores.shape[1])
    centred_scores = centred(scores, torch.ones(5, dtype=torch.bool))
    torch.testing.assert_close(centred_scores[::2], complex_scores.real, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(centred_scores[1::2], complex_scores.imag, rtol=1e-9, atol=1e-9)
    assert (complex_scores.imag.abs().amax(0) > 1e-9).double().mean() > 0.8


def test_scores_of_modules_whose_outputs_are_complex(walkers):
    ansatz, positions = Superposition(), walkers(6, 1)
    scores = centred(per_walker_scores(ansatz, positions, 4), torch.ones(6, dtype=torch.bool))
    expected, _ = quantum_geometric_tensor(ansatz, positions)
    torch.testing.assert_close(torch.complex(scores[::2], scores[1::2]), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("few", [True, False])
def test_spring_solves_with_the_geometric_tensor_in_either_space(few, walkers, vector):
    """Few walkers are solved for in the space of walkers, many in that of parameters."""
    ansatz = network(Molecule.atom("He"))
    n_walkers = 6 if few else sum(parameter.numel() for parameter in ansatz.parameters()) + 10
    positions = walkers(n_walkers, 2)
    complex_scores, tensor = quantum_geometric_tensor(ansatz, positions)
    energies = torch.complex(*walkers(2 * n_walkers, 1, seed=9).view(2, -1, 3).sum(-1))
    force = (complex_scores.conj() * (energies - energies.mean())[:, None]).mean(0).real
    expected = torch.linalg.solve(tensor.real + 0.1 * torch.eye(len(tensor), dtype=DOUBLE), force)
    before = vector(ansatz)
    optimizer = Spring(ansatz, learning_rate=1, momentum=0, damping=0.1, norm_constraint=1e9)
    stats = optimizer.update(positions, real_parts(energies))
    torch.testing.assert_close(vector(ansatz) - before, -expected, rtol=1e-8, atol=1e-8)
    assert stats["grad_norm"].item() == pytest.approx(2 * force.norm().item())


@pytest.mark.parametrize("few", [True, False])
def test_the_rank_counts_both_functions_of_a_walker(few, walkers):
    ansatz = network()
    n_walkers = 6 if few else sum(parameter.numel() for parameter in ansatz.parameters()) + 1
    finite = torch.arange(n_walkers) != 2
    scores = score_operator(ansatz, walkers(n_walkers, 4), n_walkers)
    assert normal_equations(scores, finite).rank == min(2 * (n_walkers - 2), scores.n_parameters)


def test_the_constant_vectors_of_both_functions_are_lifted(walkers):
    """Without a lift the kernel of centred scores is singular, and rounding decides whether it has a factor."""
    scores = score_operator(network(), walkers(6, 4), 6)
    system, energies = normal_equations(scores, torch.ones(6, dtype=torch.bool)), walkers(12, 1).sum((1, 2))
    first = torch.tensor([1.0, 0.0], dtype=DOUBLE).repeat(6)
    for constant in (first, 1 - first):
        system.matrix = system.matrix - 1e-9 * torch.outer(constant, constant)  # as rounding may
    direction, lifted = system.solve(centred(energies, torch.ones(6, dtype=torch.bool)), 1e-12)
    assert not lifted
    assert direction.isfinite().all()


OPTIMIZERS = {
    "spring": partial(Spring, learning_rate=0.1, momentum=0.9),
    "prime_sr": partial(Spring, learning_rate=0.1, momentum=None),
    "kfac": partial(Kfac, learning_rate=0.1),
    "adam": partial(FirstOrder, learning_rate=2e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bad", [(math.nan, 0.0), (0.0, math.inf)])
def test_a_walker_lost_in_either_part_does_not_count(optimizer, bad, walkers, vector):
    positions, energies = walkers(8, 4), walkers(16, 1, seed=9).sum(2).view(2, 8).mT.clone()
    energies[3], positions[3] = torch.tensor(bad), math.nan
    kept = torch.arange(8) != 3
    results = []
    for part in (slice(None), kept):
        ansatz = network()
        OPTIMIZERS[optimizer](ansatz).update(positions[part], energies[part])
        results.append(vector(ansatz))
    # In the space of walkers the lift of the constant vectors depends on their number, within the damping.
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)
    assert results[0].isfinite().all()
    assert not torch.equal(results[0], vector(network()))


DESCENTS = {
    "spring": (partial(Spring, learning_rate=0.2, momentum=0.8), 40),
    "prime_sr": (partial(Spring, learning_rate=0.3, momentum=None), 40),
    "kfac": (partial(Kfac, learning_rate=0.3), 40),
    "adam": (partial(FirstOrder, learning_rate=5e-2), 60),
}


@pytest.mark.parametrize("optimizer", DESCENTS)
def test_the_phase_is_optimised_to_the_ground_state_of_the_trap(optimizer, wave):
    build, steps = DESCENTS[optimizer]
    tool = build(wave)
    for step in range(steps):
        positions = cubature(wave)
        tool.update(positions, real_parts(local_energy(wave, positions)), 1 / (1 + step / 20))
    assert exact_energy(wave.modulus.weight[0], wave.phase.weight[0]).item() == pytest.approx(1.5, abs=1e-3)
    assert wave.phase.weight.abs().max() < 0.05


def test_factors_of_real_and_complex_wavefunctions(walkers):
    positions = walkers(3, 4)
    sign, log_abs = network()(positions)
    assert torch.equal(network().factors(positions), torch.stack([log_abs, sign.angle()], -1))
    real = NaturalStates(FermiNet(LIH, n_layers=1, hidden_one=4, hidden_two=3, n_determinants=2, dtype=DOUBLE))
    assert torch.equal(real.factors(positions), real(positions)[1][:, None])


def test_energies_of_real_and_complex_wavefunctions():
    matrices = torch.tensor([1 + 2j, 3 - 4j, 5j], dtype=torch.complex128).view(3, 1, 1)
    zero, one = torch.zeros_like(matrices), torch.ones_like(matrices)
    energy = LocalEnergy({"kinetic": matrices, "rest": zero}, one)
    assert Natural()(energy, ()).tolist() == [[1, 2], [3, -4], [0, 5]]
    real = LocalEnergy({"kinetic": matrices.real, "rest": zero.real}, one.real)
    assert Natural()(real, ()).tolist() == [[1], [3], [0]]


def test_each_function_is_centred_for_itself():
    values = torch.tensor([1.0, 10.0, 3.0, 30.0, 100.0, 7.0])
    assert centred(values, torch.tensor([True, True, False])).tolist() == [-1, -10, 1, 10, 0, 0]
    assert torch.equal(without_lost_walkers(torch.ones(2, 1, 3), torch.tensor([True, False])), torch.ones(2, 1, 3))


def test_log_psi_is_differentiable_in_both_parts(walkers):
    """The gradient of the real part of exp(log psi) with respect to the parameters agrees with a difference."""
    ansatz, positions = network(), walkers(4, 4)
    value = ansatz.log_psi(positions)[0].exp().real.sum()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(ansatz.parameters()))])
    direction = torch.randn(len(gradient), generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    start, values = parameters_to_vector(ansatz.parameters()).detach(), []
    for step in (1e-5, -1e-5):
        nn.utils.vector_to_parameters(start + step * direction, ansatz.parameters())
        values.append(ansatz.log_psi(positions)[0].exp().real.sum().item())
    assert (gradient @ direction).item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)
