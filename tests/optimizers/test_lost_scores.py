import pytest
import torch
from evaluating import Toy
from torch import nn
from torch.nn.utils import parameters_to_vector

from qmcnet.optimizers import Kfac, Spring

LOST = 3


class Kinked(Toy):
    """log|psi| that is finite everywhere, with scores that are not where the walker sits at the origin."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 1)
        self.double()

    def forward(self, positions):
        log_abs_psi = self.second(self.first(positions[:, 0]).abs().sqrt())[:, 0]
        return torch.ones_like(log_abs_psi), log_abs_psi


def batch(size):
    generator = torch.Generator().manual_seed(1)
    positions = torch.randn(size, 1, 3, generator=generator, dtype=torch.float64)
    positions[LOST] = 0
    return positions, torch.randn(size, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [10, 40], ids=["walkers", "parameters"])
def test_spring_leaves_out_a_walker_whose_scores_are_not_finite(size):
    positions, energies = batch(size)
    lost = energies.clone()
    lost[LOST] = torch.nan
    one, other = Kinked(), Kinked()
    assert one(positions)[1].isfinite().all()
    for ansatz, energy in ((one, energies), (other, lost)):
        optimizer = Spring(ansatz, norm_constraint=1e9, damping=10.0)
        for _ in range(2):
            stats = optimizer.update(positions, energy)
        assert stats["nonfinite"] == 1
    torch.testing.assert_close(
        parameters_to_vector(one.parameters()), parameters_to_vector(other.parameters()), rtol=1e-7, atol=1e-9
    )


@pytest.mark.parametrize("chunk_size", [4, 100])
def test_kfac_leaves_out_a_walker_whose_scores_are_not_finite(chunk_size):
    positions, energies = batch(30)
    energies[LOST] = energies[torch.arange(30) != LOST].mean()  # then its share of the other means is their own
    lost = energies.clone()
    lost[LOST] = torch.nan
    one, other = Kinked(), Kinked()
    for ansatz, energy in ((one, energies), (other, lost)):
        stats = Kfac(ansatz, norm_constraint=1e9, damping=1e2, chunk_size=chunk_size).update(positions, energy)
        assert stats["nonfinite"] == 1
    moved, expected = (
        parameters_to_vector(a.parameters()) - parameters_to_vector(Kinked().parameters()) for a in (one, other)
    )
    assert 0 < (moved - expected).norm() < 2 / 30 * expected.norm()  # what the others weigh was settled before


@pytest.mark.parametrize("kind", [Spring, Kfac])
def test_a_batch_of_lost_walkers_moves_nothing(kind):
    ansatz = Kinked()
    before = parameters_to_vector(ansatz.parameters()).clone()
    stats = kind(ansatz).update(torch.zeros(12, 1, 3, dtype=torch.float64), batch(12)[1])
    assert torch.equal(parameters_to_vector(ansatz.parameters()), before)
    assert stats["nonfinite"] == 12
