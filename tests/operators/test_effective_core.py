import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import spherical_in

from qmcnet.chemistry.scf import build_mole
from qmcnet.operators import effective_core as module
from qmcnet.operators.effective_core import EffectiveCore, radial, table
from qmcnet.operators.operator import States
from qmcnet.system.ecp import Ecp
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
TERMS = (((2, 3.0, 5.0),), ((2, 2.0, -4.0), (3, 1.5, 2.0)), ((2, 2.5, 3.0),))
"""Channels l = 0, 1 and 2 of a potential that no element has."""
INVENTED = Ecp(2, ((1, 14.4, 4.0), (2, 7.4, -25.8), (3, 8.4, 57.7)), TERMS)
CARBON = Molecule.atom("C", charge=3, spin=1).with_ecp({"C": INVENTED})  # one electron


def states_of(function, positions, nuclei, seed=0, dtype=DOUBLE):
    """States at one point each, of a function of positions (..., N, 3) with values (..., S)."""
    generator = torch.Generator().manual_seed(seed)
    psi = function(positions)

    def at(moved, rows=slice(None)):
        return function(moved)

    nothing = torch.zeros(*psi.shape, *positions.shape[1:], dtype=dtype)
    return States(
        positions=positions,
        nuclei=nuclei,
        psi=psi,
        log_scale=torch.zeros(len(psi), 1, dtype=DOUBLE),
        log_gradient=nothing,
        log_laplacian=nothing.sum((-2, -1)),
        at=at,
        local_matrix=lambda psi, operated: torch.linalg.solve(psi, operated),
        overlap=torch.eye(psi.shape[-1], dtype=dtype).expand(len(psi), -1, -1),
        drawn=lambda draw: draw(len(positions), generator),
        count=len(positions),
    )


def gaussian(center, width=0.7):
    return lambda r: torch.exp(-width * (r - torch.tensor(center, dtype=DOUBLE)).square().sum((-2, -1)))[..., None]


def places(count, n_electrons=1, scale=0.6):
    return scale * torch.randn(count, n_electrons, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def local_part(r, ecp=INVENTED):
    return radial(r[:, None], table([ecp.local])[None])[:, 0]


def channel(r, degree):
    return radial(r[:, None], table([TERMS[degree]])[None])[:, 0]


@pytest.fixture
def all_taken(monkeypatch):
    """No electron is left to the lot."""
    monkeypatch.setattr(module, "WEAK", 1e-200)


@pytest.mark.usefixtures("all_taken")
def test_a_function_without_direction_sees_the_first_channel_whatever_the_turn():
    positions = places(50)
    operator, r = EffectiveCore(CARBON), positions.norm(dim=-1)[:, 0]
    expected = local_part(r) + channel(r, 0)
    for seed in range(3):
        states = states_of(gaussian([0.0, 0.0, 0.0]), positions, CARBON.nuclei, seed)
        found = operator(states)[:, 0, 0] / states.psi[:, 0]
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-10)
    assert expected.abs().max() > 1


def closed_form(positions, center, width):
    """Projections of exp(-w |r - c|^2) on l are (2l+1) exp(-w (r^2 + c^2)) i_l(2 w r c) P_l(cos)."""
    r, c = positions.norm(dim=-1)[:, 0], float(np.linalg.norm(center))
    cosine = (positions[:, 0] @ torch.tensor(center, dtype=DOUBLE)) / (r * c)
    total = local_part(r) * gaussian(center, width)(positions)[:, 0]
    polynomials = (torch.ones_like(cosine), cosine, (3 * cosine.square() - 1) / 2)
    for degree, polynomial in enumerate(polynomials):
        bessel = torch.tensor(spherical_in(degree, (2 * width * r * c).numpy()))
        shape = (2 * degree + 1) * torch.exp(-width * (r.square() + c**2)) * bessel * polynomial
        total = total + channel(r, degree) * shape
    return total


@pytest.mark.usefixtures("all_taken")
@pytest.mark.parametrize("degree", [5, 41])
def test_a_gaussian_elsewhere_is_projected_as_in_closed_form(degree):
    center, width, positions = [0.3, -0.4, 0.5], 0.9, places(40)
    operator, count = EffectiveCore(CARBON, degree), 200 if degree == 5 else 1
    draws = torch.stack(
        [operator(states_of(gaussian(center, width), positions, CARBON.nuclei, seed))[:, 0, 0] for seed in range(count)]
    )
    error = draws.mean(0) - closed_form(positions, center, width)
    if degree == 41:
        assert error.abs().max() < 1e-5  # of the reach
    else:  # each turn is off, their mean is not
        spread = draws.std(0) / count**0.5
        assert spread.max() > 1e-5
        assert ((error / spread.clamp(min=1e-9)).square().mean() - 1).abs() < 4 * (2 / len(positions)) ** 0.5
    assert closed_form(positions, center, width).abs().max() > 0.1


def test_two_electrons_two_nuclei_and_several_states_are_sums_and_chunks_equal_the_whole(monkeypatch):
    molecule = Molecule.diatomic("C", "O", 2.1, "bohr", charge=2).with_ecp({"C": INVENTED, "O": "ccecp"})
    positions = places(6, 8, 0.9) + torch.tensor([0, 0, 1.0], dtype=DOUBLE)

    def several(r):
        one = gaussian([0.1, 0.2, 0.3], 0.05)(r)
        return torch.cat([one, one * r[..., 0, :1], one * (r[..., 1, 2:] + r[..., 2, :1].square())], -1)

    whole = EffectiveCore(molecule)(states_of(several, positions, molecule.nuclei))
    monkeypatch.setattr(module, "MOST_PAIRS", 12 * 8**2 * 5)
    torch.testing.assert_close(EffectiveCore(molecule)(states_of(several, positions, molecule.nuclei)), whole)
    for state in range(3):
        single = states_of(lambda r, state=state: several(r)[..., state : state + 1], positions, molecule.nuclei)
        torch.testing.assert_close(EffectiveCore(molecule)(single)[..., 0], whole[..., state])
    phase = torch.tensor(0.6 + 0.8j)
    turned = states_of(lambda r: phase * several(r), positions, molecule.nuclei, dtype=torch.complex128)
    torch.testing.assert_close(EffectiveCore(molecule)(turned), phase * whole)


def test_matrix_elements_are_those_of_pyscf():
    """Of s functions about the nucleus, where projectors leave the first channel: a radial integral."""
    silicon = Molecule.atom("Si").with_ecp("ccecp")
    mol = build_mole(silicon, "ccecp-cc-pvdz")
    ours = dict(silicon.ecp)["Si"]
    nodes, weights = np.polynomial.legendre.leggauss(400)
    r = torch.tensor(4 * (nodes + 1))
    volume = torch.tensor(4 * weights) * 4 * math.pi * r.square()
    points = np.stack([0 * r, 0 * r, r], -1)
    values = torch.tensor(mol.eval_gto("GTOval_sph", points))
    s_functions = [i for i, label in enumerate(mol.ao_labels(fmt=None)) if label[2].endswith("s")]
    potential = local_part(r, ours) + radial(r[:, None], table([ours.channels[0]])[None])[:, 0]
    found = torch.einsum("q,qi,qj->ij", volume * potential, *[values[:, s_functions]] * 2)
    expected = torch.tensor(mol.intor("ECPscalar"))[s_functions][:, s_functions]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    assert expected.abs().max() > 0.1


def test_distant_electrons_are_taken_by_lot_and_count_the_more():
    operator, r = EffectiveCore(CARBON), torch.linspace(1.0, 4.0, 60, dtype=DOUBLE)
    positions = torch.nn.functional.pad(r[:, None, None], (2, 0)).repeat(400, 1, 1)
    evaluated = 0

    def at(moved, rows):
        nonlocal evaluated
        evaluated += len(moved)
        return torch.ones(len(moved), 1, dtype=DOUBLE)

    states = states_of(lambda r: torch.ones(*r.shape[:-2], 1, dtype=DOUBLE), positions, CARBON.nuclei)
    found = operator(dataclasses.replace(states, at=at))[:, 0, 0] - local_part(positions[:, 0, 2])
    found, expected = found.unflatten(0, (400, -1)), channel(r, 0)  # of a constant, the first channel
    error = found.std(0) / 400**0.5
    drawn = error > 1e-12
    assert drawn.sum() > 10
    assert ((found.mean(0) - expected)[drawn] / error[drawn]).square().mean() < 1 + 4 * (2 / drawn.sum()) ** 0.5
    torch.testing.assert_close(
        found.mean(0)[~drawn & (expected.abs() > module.WEAK)], expected[expected.abs() > module.WEAK]
    )
    assert evaluated < 0.7 * len(positions) * len(operator.weights)


def test_far_electrons_cost_nothing_and_see_nothing():
    operator, far = EffectiveCore(CARBON), torch.tensor([[[0.0, 0.0, 9.0]]], dtype=DOUBLE)
    states = states_of(gaussian([0.0, 0.0, 8.0]), far, CARBON.nuclei)
    refused = dataclasses.replace(states, at=lambda *_: 1 / 0)
    assert operator(refused).abs().max() < 1e-12
