from functools import partial

import pytest
import torch
from evaluating import Toy
from pytorch_optimizer import Lamb
from torch import nn

from qmcnet import FirstOrder, ForwardLaplacian, Metropolis, Spring
from qmcnet.operators.coulomb import inverse_distances
from qmcnet.optimizers import Clipping, Kfac, Schedule


class Run:
    """Walkers that follow a wavefunction."""

    def __init__(self, ansatz, local_energy, positions, generator):
        self.ansatz, self.local_energy, self.generator = ansatz, local_energy, generator
        self.sampler = Metropolis(steps=5)
        self.state = self.sampler.start(positions)

    def sweep(self, count):
        for _ in range(count):
            self.state, _ = self.sampler.sweep(lambda r: 2 * self.ansatz(r)[1], self.state, self.generator)
        return self.local_energy(self.state.positions)

    def measure(self):
        """Energy, its standard error, and the variance of the local energy; the walkers are independent."""
        samples = torch.stack([self.sweep(2) for _ in range(15)])  # (T, B)
        error = samples.mean(0).std() / len(samples[0]) ** 0.5
        return samples.mean().item(), error.item(), samples.var().item()

    def optimize(self, optimizer, steps, schedule):
        for step in range(steps):
            energies, _ = Clipping()(self.sweep(1)[:, None])
            optimizer.update(self.state.positions, energies, schedule(step, steps))


class Hooke(Toy):
    """Two electrons in a harmonic trap: (1 + b r12) exp(w (r1^2 + r2^2, r12^2))."""

    def __init__(self):
        super().__init__()
        self.weight, self.pair = nn.Linear(2, 1, bias=False, dtype=torch.float64), Pair()
        with torch.no_grad():
            self.weight.weight.copy_(torch.tensor([[-0.4, -0.05]]))

    def forward(self, positions):
        distance = torch.linalg.vector_norm(positions[:, 0] - positions[:, 1], dim=-1)
        features = torch.stack([positions.square().sum((-2, -1)), distance.square()], -1)
        log_abs_psi = self.weight(features)[:, 0] + self.pair(distance)
        return torch.ones_like(distance), log_abs_psi


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.2, dtype=torch.float64))

    def forward(self, distance):
        return torch.log(1 + self.slope * distance)


def hooke_energy(ansatz):
    """Local energy in a trap of frequency 1/2, whose ground state is (1 + r12 / 2) exp(-(r1^2 + r2^2) / 4) at 2."""
    laplacian = ForwardLaplacian()

    def local_energy(positions):
        with torch.no_grad():
            log_psi = laplacian(lambda r: ansatz(r)[1], positions)
        kinetic = -0.5 * (log_psi.laplacian + log_psi.gradient.square().sum((-2, -1)))
        return kinetic + positions.square().sum((-2, -1)) / 8 + inverse_distances(positions)[:, 0]

    return local_energy


HOOKE = {
    "spring": (partial(Spring, learning_rate=0.1, momentum=0.9), 60),
    "minsr": (partial(Spring, learning_rate=0.2, momentum=0.0), 40),
    "prime_sr": (partial(Spring, learning_rate=0.2, momentum=None), 40),
    "kfac": (partial(Kfac, learning_rate=0.4), 40),
    "adam": (partial(FirstOrder, learning_rate=1e-1), 60),
    "lamb": (partial(FirstOrder, method=Lamb, learning_rate=5e-2), 60),
}


@pytest.mark.parametrize("optimizer", HOOKE)
def test_two_electrons_in_a_trap_reach_their_exact_state(optimizer):
    ansatz, generator = Hooke(), torch.Generator().manual_seed(4)
    positions = torch.randn(128, 2, 3, generator=generator, dtype=torch.float64)
    run = Run(ansatz, hooke_energy(ansatz), positions, generator)
    build, steps = HOOKE[optimizer]
    run.sweep(20)
    before, error_before, variance_before = run.measure()
    run.optimize(build(ansatz), steps, Schedule("cosine", steps))
    run.sweep(10)
    after, error, variance = run.measure()
    assert before > 2.3 + 4 * error_before
    assert after == pytest.approx(2.0, abs=4 * error + 3e-3)
    assert variance < variance_before / 30


def test_the_trap_has_its_exact_state_in_reach():
    ansatz = Hooke()
    with torch.no_grad():
        ansatz.weight.weight.copy_(torch.tensor([[-0.25, 0.0]]))
        ansatz.pair.slope.fill_(0.5)
    positions = torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    energies = hooke_energy(ansatz)(positions)
    torch.testing.assert_close(energies, torch.full((20,), 2.0, dtype=torch.float64), rtol=0, atol=1e-11)
