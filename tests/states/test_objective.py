"""Objectives of several states: exact eigenstates, spin and settings."""

import math

import pytest
import torch
from evaluating import Formula, states_of

from qmcnet import (
    FermiNet,
    MolecularHamiltonian,
    Molecule,
    Natural,
    NaturalStates,
    Penalty,
    ProductStates,
    TorchFuncLaplacian,
)

DOUBLE = torch.float64
HYDROGEN, HELIUM, LITHIUM = (Molecule.atom(symbol) for symbol in ("H", "He", "Li"))


def given(function, molecule):
    """States of electrons from a function of their positions, (..., N, 3) to (..., S)."""
    network = Formula(lambda positions: torch.linalg.slogdet(function(positions)[..., None, None]), molecule)
    network.settings = {}
    return network


def minimised(objective, network, positions, laplacian=None):
    """The local energy, and what an objective makes of it."""
    states = states_of(network, positions, laplacian, kind=objective.ensemble)
    energy = MolecularHamiltonian(network.molecule)(states)
    penalties = [states.local(penalty(states))[:, 0] for penalty in objective.penalties(network.molecule)]
    return energy, objective(energy, penalties)


def draw(network, n_states, n_walkers=20, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_walkers, n_states * network.molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)


def hydrogenic(positions):
    """1s, 2s and 2p_x."""
    r = positions[..., 0, :]
    d = torch.linalg.vector_norm(r, dim=-1, keepdim=True)
    return torch.cat([torch.exp(-d), (1 - d / 2) * torch.exp(-d / 2), r[..., :1] * torch.exp(-d / 2)], -1)


def test_exact_eigenstates_are_a_stationary_point():
    network = given(hydrogenic, HYDROGEN)
    _, local = minimised(Penalty(0.0, [1.0, 0.5, 0.25]), network, draw(network, 3, 50, seed=3))
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

    return given(psi, HELIUM)


def test_a_triplet_among_two_states_costs_two_at_every_walker():
    network = spins(0.7)
    energy, local = minimised(Natural(spin_penalty=1.5), network, draw(network, 2))
    torch.testing.assert_close(local[:, 0] - energy.total, torch.full((20,), 3.0, dtype=DOUBLE), rtol=0, atol=1e-9)


def test_the_spin_of_each_state_of_a_product_is_its_own():
    network = spins(1e9)  # a triplet but for one part in 10^9
    with_spin, without = (
        minimised(objective, network, draw(network, 2))[1] for objective in (Penalty(spin_penalty=1.5), Penalty())
    )
    expected = torch.tensor([0.0, 3.0], dtype=DOUBLE).expand(20, 2)
    torch.testing.assert_close(with_spin - without, expected, rtol=0, atol=1e-4)


def doublet(positions):
    """Restricted determinant of three electrons, two of them up in two orbitals and one down in the first."""
    orbitals = torch.stack([torch.ones_like(positions[..., 0]), positions[..., 0]], -1)
    return (torch.linalg.det(orbitals[..., :2, :]) * torch.exp(-positions.square().sum((-2, -1))))[..., None]


def quartet(positions):
    x = positions[..., 0]
    orbitals = torch.stack([torch.ones_like(x), x, x**2], -1)
    return (torch.linalg.det(orbitals) * torch.exp(-positions.square().sum((-2, -1))))[..., None]


@pytest.mark.parametrize(("function", "expected"), [(doublet, 0.0), (quartet, 3.0)])
@pytest.mark.parametrize("kind", [Natural, Penalty])
def test_the_lowest_spin_costs_nothing_and_a_higher_one_what_it_is_higher(function, expected, kind):
    network = given(function, LITHIUM)
    with_spin, without = (
        minimised(objective, network, draw(network, 1), TorchFuncLaplacian())[1]
        for objective in (kind(spin_penalty=2.0), kind())
    )
    torch.testing.assert_close(with_spin - without, torch.full((20, 1), 2 * expected, dtype=DOUBLE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("objective", [Natural(spin_penalty=1.0), Penalty(spin_penalty=1.0)])
def test_an_objective_is_a_number_that_nothing_differentiates(objective):
    network = FermiNet(HELIUM, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE)
    assert not minimised(objective, network, draw(network, 2))[1].requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Natural(spin_penalty=-1.0), "spin_penalty=-1.0 must be at least 0"),
        (lambda: Natural(spin_penalty=math.nan), "spin_penalty=nan must be at least 0"),
        (lambda: Penalty(spin_penalty=-1.0), "spin_penalty=-1.0 must be at least 0"),
        (lambda: Penalty(strength=-2.0), "strength=-2.0 must be at least 0"),
        (lambda: Penalty(weights=[1.0, 0.0]), r"weights\[1\]=0.0 must be positive"),
        (
            lambda: Penalty(weights=[1.0]).ensemble(given(hydrogenic, HYDROGEN)),
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
        Penalty().ensemble(network)


def test_objectives_choose_what_is_sampled():
    several, one = given(hydrogenic, HYDROGEN), given(lambda positions: hydrogenic(positions)[..., :1], HYDROGEN)
    for objective, kind in ((Natural(), NaturalStates), (Penalty(), ProductStates)):
        for network, n_states in ((several, 3), (one, 1)):
            total = objective.ensemble(network)
            assert (type(total), total.network, total.n_states) == (kind, network, n_states)
