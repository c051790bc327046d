"""Objectives of several states: exact eigenstates, spin and settings."""

import math
from types import SimpleNamespace

import pytest
import torch
from qmcnet.stages.ensemble import ensemble
from qmcnet.stages.objective import Natural, Penalty, excess_spin
from qmcnet.states.product import ProductStates
from torch import nn

from qmcnet import (
    FermiNet,
    ForwardLaplacian,
    Molecule,
)
from qmcnet.operators import LocalEnergy, StatesHamiltonian
from qmcnet.states.natural import NaturalStates

DOUBLE = torch.float64
HYDROGEN, HELIUM, LITHIUM = (Molecule.atom(symbol) for symbol in ("H", "He", "Li"))


class Given(nn.Module):
    """States of electrons from a function of their positions, (..., N, 3) to (..., S)."""

    def __init__(self, function, molecule, n_states):
        super().__init__()
        self.function, self.molecule, self.settings = function, molecule, {"n_states": n_states}

    def forward(self, positions):
        return torch.linalg.slogdet(self.function(positions)[..., None, None])


def hydrogenic(positions):
    """1s, 2s and 2p_x."""
    r = positions[..., 0, :]
    d = torch.linalg.vector_norm(r, dim=-1, keepdim=True)
    return torch.cat([torch.exp(-d), (1 - d / 2) * torch.exp(-d / 2), r[..., :1] * torch.exp(-d / 2)], -1)


def test_exact_eigenstates_are_a_stationary_point():
    product = ProductStates(Given(hydrogenic, HYDROGEN, 3))
    positions = torch.randn(50, 3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    energy = local_energy(product, positions, ForwardLaplacian())
    local = Penalty(0.0, [1.0, 0.5, 0.25])(None, energy)
    expected = torch.tensor([-0.5, -0.125 * 0.5, -0.125 * 0.25], dtype=DOUBLE).expand(50, 3)
    torch.testing.assert_close(local, expected, rtol=0, atol=1e-10)


def spins(mixture):
    """Singlet of two open shells, and its sum with as many times the triplet."""

    def psi(positions):
        x, decay = positions[..., 0], torch.exp(-0.4 * positions.square().sum((-2, -1)))
        one, two = (torch.stack([torch.ones_like(x), x + 0.3 * x**2], -1)[..., i, :] for i in (0, 1))
        up_down, down_up = one[..., 0] * two[..., 1], one[..., 1] * two[..., 0]
        singlet, triplet = up_down + down_up, up_down - down_up
        return decay[..., None] * torch.stack([singlet, singlet + mixture * triplet], -1)

    return Given(psi, HELIUM, 2)


def at_random(network, objective=Natural(), n_walkers=20, seed=5):
    total = objective.ensemble(network)
    shape = (n_walkers, getattr(total, "n_states", 1) * network.molecule.n_electrons, 3)
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(shape, dtype=DOUBLE, generator=generator)
    walkers = SimpleNamespace(positions=positions)
    return SimpleNamespace(molecule=network.molecule, ansatz=total, walkers=walkers, generator=generator)


def test_a_triplet_among_two_states_costs_two_at_every_walker():
    run = at_random(spins(0.7))
    energy = local_energy(run)
    excess = Natural(spin_penalty=1.5)(run, energy) - energy.total
    torch.testing.assert_close(excess, torch.full((20,), 3.0, dtype=DOUBLE), rtol=0, atol=1e-9)


def local_energy(run):
    return local_energy(run.ansatz, run.walkers.positions, ForwardLaplacian())


def test_the_spin_of_each_state_of_a_product_is_its_own():
    run = at_random(spins(1e9), Penalty())  # a triplet but for one part in 10^9
    excess = Penalty(spin_penalty=1.5)(run, local_energy(run)) - Penalty()(run, local_energy(run))
    torch.testing.assert_close(excess, torch.tensor([0.0, 3.0], dtype=DOUBLE).expand(20, 2), rtol=0, atol=1e-4)


def doublet(positions):
    """Restricted determinant of three electrons, two of them up in two orbitals and one down in the first."""
    orbitals = torch.stack([torch.ones_like(positions[..., 0]), positions[..., 0]], -1)
    return (torch.linalg.det(orbitals[..., :2, :]) * torch.exp(-positions.square().sum((-2, -1))))[..., None]


def quartet(positions):
    x = positions[..., 0]
    orbitals = torch.stack([torch.ones_like(x), x, x**2], -1)
    return (torch.linalg.det(orbitals) * torch.exp(-positions.square().sum((-2, -1))))[..., None]


@pytest.mark.parametrize(("function", "expected"), [(doublet, 0.0), (quartet, 3.0)])
@pytest.mark.parametrize("objective", [Natural(spin_penalty=2.0), Penalty(spin_penalty=2.0)])
def test_the_lowest_spin_costs_nothing_and_a_higher_one_what_it_is_higher(function, expected, objective):
    run = at_random(Given(function, LITHIUM, 1))
    torch.testing.assert_close(excess_spin(run), torch.full((20, 1), expected, dtype=DOUBLE), rtol=0, atol=1e-9)
    zero = torch.zeros(20, dtype=DOUBLE)
    found = objective(run, LocalEnergy(zero, zero, zero, 0.0))
    torch.testing.assert_close(found, torch.full((20,), 2 * expected, dtype=DOUBLE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("objective", [Natural(spin_penalty=1.0), Penalty(spin_penalty=1.0)])
def test_an_objective_is_a_number_that_nothing_differentiates(objective):
    network = FermiNet(HELIUM, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE)
    run = at_random(network, objective)
    assert not objective(run, local_energy(run)).requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Natural(spin_penalty=-1.0), "spin_penalty=-1.0 must be zero or positive"),
        (lambda: Natural(spin_penalty=math.nan), "spin_penalty=nan must be zero or positive"),
        (lambda: Penalty(spin_penalty=-1.0), "spin_penalty=-1.0 must be zero or positive"),
        (lambda: Penalty(strength=-2.0), "strength=-2.0 must be zero or positive"),
        (lambda: Penalty(weights=[1.0, 0.0]), r"weights=\[1.0, 0.0\] must be positive"),
        (
            lambda: Penalty(weights=[1.0]).ensemble(Given(hydrogenic, HYDROGEN, 3)),
            r"weights=\[1.0\] must be one for each of the 3 states",
        ),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("n_states", [1, 2])
def test_the_penalty_wants_a_real_wavefunction(n_states):
    network = FermiNet(HELIUM, n_layers=1, hidden_one=8, hidden_two=4, n_states=n_states, complex=True)
    with pytest.raises(ValueError, match=r"objective=penalty needs a real wavefunction: set ansatz\.complex=false"):
        ensemble(network, ForwardLaplacian(), Penalty())


def test_objectives_choose_what_is_sampled():
    several, one = Given(hydrogenic, HYDROGEN, 3), Given(hydrogenic, HYDROGEN, 1)
    for objective, kind in ((Natural(), NaturalStates), (Penalty(), ProductStates)):
        total, hamiltonian = ensemble(several, ForwardLaplacian(), objective)
        assert (type(total), type(hamiltonian)) == (kind, StatesHamiltonian)
        assert ensemble(one, ForwardLaplacian(), objective)[0] is one
