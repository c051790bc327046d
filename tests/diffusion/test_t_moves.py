import math

import torch
from operators.test_effective_core import states_of

from qmcnet.diffusion import Branching, DriftDiffusion, Guided, Population, TMoves
from qmcnet.operators.core_hops import chosen, hops
from qmcnet.operators.effective_core import WEAK, EffectiveCore
from qmcnet.statistics.mixed import equilibrated
from qmcnet.system.ecp import Ecp
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
STRENGTH, DECAY = -3.0, 1.0
"""Of the channel of s functions, in hartree and 1/bohr^2."""
EXACT = 1.5
"""Hartree: s functions are in a harmonic trap, others also feel a hill that the channel takes away."""
CENTER, WIDTH = (0.5, 0.0, 0.0), 1.2
"""Of the guide, which is no s function."""
COULOMB = ((1, 1.0, 4.0),)  # cancels the charge that is left, as a potential must; here there is no such charge
MOLECULE = Molecule.atom("C", charge=3, spin=1).with_ecp({"C": Ecp(2, COULOMB, (((2, DECAY, STRENGTH),),))})


def log_psi(positions):
    return -WIDTH * (positions - torch.tensor(CENTER, dtype=DOUBLE)).square().sum((-2, -1)) / 2


def guide_of(core):
    def guide(positions, numbers=None):
        away = positions - torch.tensor(CENTER, dtype=DOUBLE)
        scale = log_psi(positions)[:, None]

        def relative(moved, rows):
            return torch.exp(log_psi(moved)[:, None] - scale[rows])

        states = states_of(lambda r: torch.ones(len(r), 1, dtype=DOUBLE), positions, MOLECULE.nuclei)
        object.__setattr__(states, "at", relative)
        object.__setattr__(states, "drawn", lambda draw: draw(len(positions), guide.generator))
        found = hops(core, states)
        squares = away.square().sum((-2, -1))
        energy = 0.5 * (3 * WIDTH - WIDTH**2 * squares) + found.applied[:, 0, 0]
        heights = positions.square().sum((-2, -1))
        energy = energy + 0.5 * heights - STRENGTH * torch.exp(-DECAY * heights)
        return Guided(
            positions, torch.ones_like(energy), scale[:, 0], -WIDTH * away, energy, energy[:, None], found.hops
        )

    guide.generator = torch.Generator().manual_seed(1)
    return guide


def diffused(hopping, timestep=0.04, generations=500, n_walkers=600):
    core = EffectiveCore(MOLECULE)
    core.local.zero_()
    guide = guide_of(core)
    generator = torch.Generator().manual_seed(0)
    positions = torch.randn(n_walkers, 1, 3, dtype=DOUBLE, generator=generator)
    move = DriftDiffusion(guide, torch.full((1, 3), 1e3, dtype=DOUBLE), torch.ones(1, dtype=DOUBLE))
    walkers, move = Population(guide(positions), generator), TMoves(move, guide) if hopping else move
    branching = Branching(EXACT, 100, timestep)  # as of many electrons, so that no energy is cut off
    rows = [walkers.advance(move, branching) for _ in range(generations)]
    series = [[getattr(row, name).item() for row in rows] for name in ("energy", "log_weight")]
    return equilibrated(*series, math.ceil(3 / timestep))[1]


def test_hops_find_the_exact_energy_whatever_the_guide():
    """All elements of an attractive channel are negative where the guide has no nodes: nothing is approximated.

    Localising the channel by this guide, as without hops, ends at 1.33.
    """
    found = diffused(True)
    print(f"\n{found.mean:.5f}({found.standard_error:.5f})")
    assert found.standard_error < 0.02
    assert abs(found.mean - EXACT) < 4 * found.standard_error


def test_one_of_several_places_is_chosen_in_proportion_to_its_rate():
    rates, count = torch.tensor([0.0, 1.0, 3.0, 0.0], dtype=DOUBLE), 4000
    places = torch.arange(4, dtype=DOUBLE)[:, None].expand(4, 3)
    chance = torch.linspace(0, 1, count + 1, dtype=DOUBLE)[:-1]
    found = chosen(places.expand(count, 4, 3), rates.expand(count, 4), chance)[:, 0]
    assert [(found == place).sum().item() for place in range(4)] == [0, count // 4, 3 * count // 4, 0]


def test_hops_are_moves_on_spheres_at_the_rate_of_the_negative_elements():
    """Of the channel alone, with a guide that is one everywhere: the rate is -v(r), whatever the rule."""
    core = EffectiveCore(MOLECULE)
    positions = torch.randn(200, 1, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    states = states_of(lambda r: torch.ones(len(r), 1, dtype=DOUBLE), positions, MOLECULE.nuclei)
    r = positions.norm(dim=-1)[:, 0]
    found, strength = hops(core, states).hops[:, 0], STRENGTH * torch.exp(-DECAY * r.square())
    strong = strength < -WEAK
    torch.testing.assert_close(found[strong, 0], -strength[strong])
    moved = found[:, 0] > 0
    torch.testing.assert_close(found[moved, 1:].norm(dim=-1), r[moved])
    assert (found[moved, 1:] - positions[moved, 0]).norm(dim=-1).min() > 0
    assert torch.equal(found[~moved, 1:], positions[~moved, 0])
