"""Forces: slopes of energies by quadrature, nodes, several states, core potentials, and what is refused."""

import dataclasses
import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from qmcnet import (
    FermiNet,
    ForwardLaplacian,
    MolecularHamiltonian,
    Molecule,
    NaturalStates,
    ProductStates,
    TorchFuncLaplacian,
    states_at,
)
from qmcnet.operators import core_slope, effective_core
from qmcnet.operators import forces as forces_module
from qmcnet.operators.core_slope import CoreSlope
from qmcnet.operators.effective_core import EffectiveCore
from qmcnet.operators.forces import Forces, kinetic_slope, node_distance, tail
from qmcnet.states.measurements import check_observables
from qmcnet.system.ecp import Ecp
from qmcnet.system.warp import largest_outside, warp, warp_slopes, warp_weights

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
STEP = 1e-3


def noise(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Sums(nn.Module):
    """psi_s = prod_i sum_A c_sA exp(-a_sA |r_i - R_A|^power), times exp(i k z_i), for s < S."""

    def __init__(self, molecule, exponents, weights, power=1, wave=0.0):
        super().__init__()
        self.molecule, self.power, self.wave = molecule, power, wave
        self.exponents = nn.Parameter(torch.tensor(exponents, dtype=DOUBLE))  # (S, A)
        self.weights = nn.Parameter(torch.tensor(weights, dtype=DOUBLE))

    def orbitals(self, positions, nuclei):
        distances = torch.linalg.vector_norm(positions[..., :, None, :] - nuclei[..., None, :, :], dim=-1)
        return (torch.exp(distances[..., None, :] ** self.power * -self.exponents) * self.weights).sum(-1)

    def forward(self, positions, nuclei):
        orbitals = self.orbitals(positions, nuclei)  # (..., N, S)
        values = orbitals.value if hasattr(orbitals, "value") else orbitals
        phases = torch.ones_like(values).prod(-2) * torch.sgn(values).prod(-2)
        if self.wave:
            phases = phases * torch.exp(1j * self.wave * positions[..., 2].sum(-1))[..., None]
        return phases, torch.log(torch.abs(orbitals)).sum(-2)


def forces_at(network, positions, backend=ForwardLaplacian):
    """Local forces and torques of one state at each point, (M, 3 A + 3)."""
    states = states_at(NaturalStates(network), positions, backend())
    return (Forces(network.molecule)(states)[..., 0] / states.psi).real.detach()


@pytest.mark.parametrize(("symbol", "charge"), [("H", 0), ("He", 1), ("Li", 2)])
def test_an_atom_off_centre_has_no_force_at_any_walker(symbol, charge):
    molecule = Molecule((symbol,), ((0.4, -1.0, 0.2),), charge=charge, spin=1)
    for factor in (1, 1.1):  # exact, and not
        found = forces_at(Sums(molecule, [[molecule.charges.item() * factor]], [[1.0]]), noise(50, 1, 3))
        assert (found.abs() < 1e-11).all()


def grid(molecule, count=70, reach=14.0):
    """Points of a plane through two nuclei on z, (P, 1, 3), and weights of integrals of what is the same about z."""
    s, of_s = np.polynomial.legendre.leggauss(count)
    half = molecule.nuclei.diff(dim=0).norm().item() / 2
    root = (s + 1) / 2 * math.sqrt(reach / half)
    outer, of_outer = 1 + root**2, 2 * root * of_s / 2 * math.sqrt(reach / half)
    inner, of_inner = outer[:, None], s[None]
    z = half * inner * of_inner + molecule.nuclei[:, 2].mean().item()
    rho = half * np.sqrt((inner**2 - 1) * (1 - of_inner**2))
    weights = 2 * np.pi * half**3 * (inner**2 - of_inner**2) * of_outer[:, None] * of_s
    points = np.stack([rho, 0 * z, z], -1).reshape(-1, 1, 3)
    return torch.from_numpy(points), torch.from_numpy(weights.ravel())


def carried(network, positions, nucleus, step):
    """The states where a nucleus has moved along z by a step, and carried them along, (P, S), with their gradients."""
    molecule = network.molecule
    leaf = positions.clone().requires_grad_()
    weights, slopes = warp_slopes(leaf, molecule.nuclei, molecule.charges.double())
    v = weights[..., nucleus, None] * torch.tensor([0, 0, step], dtype=DOUBLE)
    sign, log_abs = network(leaf - v, molecule.nuclei)
    psi = sign * torch.exp(log_abs) * (1 - step * slopes[..., nucleus, 2] / 2)  # (P, S)
    parts = torch.view_as_real(psi).flatten(1) if network.wave else psi
    found = [torch.autograd.grad(part.sum(), leaf, retain_graph=True)[0][:, 0] for part in parts.unbind(-1)]
    slopes = torch.stack(found, 1)
    return psi.detach(), torch.complex(slopes[:, ::2], slopes[:, 1::2]) if network.wave else slopes


def moved_by(molecule, nucleus, step):
    """The molecule with a nucleus further up."""
    nuclei = molecule.nuclei.clone()
    nuclei[nucleus, 2] += step
    return dataclasses.replace(molecule, coordinates=tuple(map(tuple, nuclei.tolist())))


def energies(network, nucleus, step, **sizes):
    """<psi_s|H|psi_t> of the carried states of one electron, kinetic and Coulomb energy, and their overlaps (S, S)."""
    moved = moved_by(network.molecule, nucleus, step)
    points, weights = grid(moved, **sizes)
    psi, slopes = carried(network, points, nucleus, step)
    charges = moved.charges.double()
    potential = charges.prod() / moved.nuclei.diff(dim=0).norm() - (charges / (points - moved.nuclei).norm(dim=-1)).sum(
        -1
    )
    kinetic = torch.einsum("p,psx,ptx->st", weights.to(psi), slopes.conj(), slopes) / 2
    weighed = weights[:, None] * psi
    return kinetic + psi.conj().T @ (potential[:, None] * weighed), psi.conj().T @ weighed


def slope_of(energy, nucleus):
    """Differentiate S^-1 H by a nucleus; S does not change to first order."""
    at = {k: energy(nucleus, k * STEP) for k in (-1, 0, 1)}
    assert ((at[1][1] - at[-1][1]).abs() < 1e-6 * at[0][1].abs().max()).all()
    return torch.linalg.solve(at[0][1], (at[1][0] - at[-1][0]) / (2 * STEP))


ION = Molecule.diatomic("H", "H", 1.5, "bohr", charge=1, spin=1)
UNLIKE = Molecule.diatomic("He", "H", 2.0, "bohr", charge=2, spin=1)
ONE = [([[1.0, 1.2]], [[1.0, 0.4]]), ([[1.3, 0.6]], [[1.0, 0.0]])]
TWO = ([[1.9, 1.1], [0.7, 0.8]], [[1.0, 0.3], [0.5, -1.0]])


@pytest.mark.parametrize("wave", [0.0, 0.4])
@pytest.mark.parametrize("molecule", [ION, UNLIKE], ids=["ion", "unlike"])
@pytest.mark.parametrize("parts", ONE, ids=["both", "one centre"])
def test_the_mean_is_the_slope_of_the_energy_of_what_is_carried_along(molecule, parts, wave):
    network = Sums(molecule, *parts, wave=wave)
    points, weights = grid(molecule)
    share = weights * (2 * NaturalStates(network)(points)[1]).exp()
    backend = TorchFuncLaplacian if wave else ForwardLaplacian
    found = (forces_at(network, points, backend) * share[:, None]).sum(0) / share.sum()
    for nucleus in (0, 1):
        slope = slope_of(partial(energies, network), nucleus).real.item()
        assert abs(slope) > 0.01
        assert found[3 * nucleus + 2].item() == pytest.approx(-slope, abs=2e-5)


HYDROXYL = Molecule.diatomic("O", "H", 1.8, "bohr", charge=8, spin=1)


@pytest.mark.parametrize(
    ("molecule", "parts"),
    [
        (ION, ([[1.0, 1.2]], [[1.0, -1.0]])),
        (ION, ([[2.0, 1.0]], [[1.0, -0.3]])),
        (HYDROXYL, ([[4.5, 1.2]], [[2.0, -0.6]])),
    ],
    ids=["between", "about one nucleus", "near a core"],
)
def test_what_is_smoothed_near_a_node_leaves_the_mean_as_it_is(molecule, parts):
    """Twice as far there is up to 1.4e-3, and the grid, for which samples as large as these are few, adds 2e-4."""
    network = Sums(molecule, *parts)
    points, weights = grid(molecule, count=160)
    share = weights * (2 * NaturalStates(network)(points)[1]).exp()
    found = (forces_at(network, points)[:, 5] * share).sum() / share.sum()
    slope = slope_of(partial(energies, network), 1).real
    assert (found + slope).item() == pytest.approx(0, abs=5e-4)


@pytest.mark.parametrize("symbol", ["O", "Cl", "Kr"])
def test_what_is_steep_at_a_heavy_nucleus_is_near_no_node(symbol):
    charge = Molecule.atom(symbol).n_electrons
    molecule = Molecule.diatomic(symbol, "H", 2.5, "bohr", charge=charge, spin=1)
    place = molecule.nuclei[0] + noise(500, 1, 3) / charge
    network, forces = Sums(molecule, [[1.0 * charge, 1.0]], [[1.0, 0.0]]), Forces(molecule)
    states = states_at(NaturalStates(network), place)
    found = forces(states)
    forces.reach = 1e-9
    torch.testing.assert_close(found, forces(states), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_states", [1, 2, 6])
@pytest.mark.parametrize("atoms", ["O", "OO", "Cl", "Kr" * 3])
def test_walkers_as_steep_as_their_kinetic_energy_says_are_near_no_node(atoms, n_states, monkeypatch):
    """Of an exact wavefunction the mean of (grad log psi)^2 is twice the kinetic energy, minus twice the energy."""
    monkeypatch.setattr(forces_module, "tail", lambda x: seen.append(x) or x.clamp(max=1))
    symbols, seen = re.findall(r"[A-Z][a-z]?", atoms), []
    places = tuple((0.0, 0.0, 4.0 * k) for k in range(len(symbols)))
    molecule = Molecule(tuple(symbols), places, spin=("Cl" in symbols) * 1)
    energy = sum({"O": 75.07, "Cl": 460.1, "Kr": 2752.1}[symbol] for symbol in symbols)  # non-relativistic
    shape = (3 * n_states, n_states, molecule.n_electrons, 3)
    gradient = noise(*shape) * math.sqrt(2 * energy / math.prod(shape[2:]))
    states = dataclasses.replace(at_each_of(molecule, n_states), log_gradient=gradient)
    Forces(molecule)(states)
    assert (seen[0] > 1.8).all()


def test_of_several_states_it_is_the_slope_of_the_matrix_of_the_energy(monkeypatch):
    monkeypatch.setattr(forces_module, "REACH", 1e-9)  # so that what is integrated is smooth
    network = Sums(UNLIKE, *TWO, power=2)
    (first, of_first), (second, of_second) = (grid(UNLIKE, count, reach=6.0) for count in (14, 15))  # nowhere the same
    pairs = torch.cat([first.repeat_interleave(len(second), 0), second.repeat(len(first), 1, 1)], 1)
    share = (of_first[:, None] * of_second).flatten()
    for kind in (NaturalStates, ProductStates):
        ensemble = kind(network)
        states = states_at(ensemble, pairs)
        sampled = share * (2 * ensemble(pairs)[1]).exp()
        local = states.local(Forces(UNLIKE)(states))[:, 5]  # along z of the second nucleus
        found = (sampled[:, None, None] * local).sum(0) / sampled.sum()
        slope = slope_of(partial(energies, network), 1)
        if kind is ProductStates:  # not by the inverse of the overlap, but by the norms
            overlap = energies(network, 1, 0.0)[1]
            slope = overlap @ slope / overlap.diagonal()[:, None]
        torch.testing.assert_close(found.detach(), -slope, rtol=0, atol=2e-4)
        assert slope.abs().max() > 0.05


INVENTED = Ecp(0, local=((1, 2.5, 2.0), (2, 1.5, -2.0)), channels=(((2, 1.2, 3.0),), ((2, 0.8, -1.5),)))


def core_energy(network, nucleus, step):
    """<psi|U|psi> of the carried states, and their overlap; by a rule that is good for any direction."""
    molecule = network.molecule
    moved = moved_by(molecule, nucleus, step)
    points, weights = grid(moved, count=20)

    def carried_psi(positions):
        return carried(network, positions.flatten(0, -3), nucleus, step)[0].unflatten(0, positions.shape[:-2])

    states = at_each(network, points)
    psi = carried_psi(states.positions)
    states = dataclasses.replace(states, psi=psi, nuclei=moved.nuclei, at=lambda places, rows: carried_psi(places))
    applied, psi = EffectiveCore(molecule, 11)(states)[::2, 0], psi[::2]
    return psi.T @ (weights[:, None] * applied), psi.T @ (weights[:, None] * psi)


def at_each_of(molecule, n_states):
    """Independent states of a molecule at three walkers, whose gradients are to be put in their place."""
    network = Sums(
        molecule, [[0.5] * len(molecule.symbols)] * n_states, noise(n_states, len(molecule.symbols)).tolist()
    )
    points = noise(3, n_states * molecule.n_electrons, 3, seed=1)
    states = states_at(ProductStates(network), points)
    return dataclasses.replace(states, psi=noise(3 * n_states, n_states, seed=2))


def at_each(network, points):
    """The two states of a network at points (P, 1, 3), each point twice, as it takes two for two states."""
    return states_at(NaturalStates(network), points.expand(-1, 2, 3))


def test_core_potentials_have_the_slope_of_their_energy(monkeypatch):
    for module in (core_slope, effective_core):
        monkeypatch.setattr(module, "WEAK", 1e-30)  # all electrons are taken
    molecule = UNLIKE.with_ecp({"He": INVENTED})
    network = Sums(molecule, *TWO, power=2)
    points, weights = grid(molecule, count=20)
    states = at_each(network, points)
    charges = molecule.charges.double()
    slopes = CoreSlope(molecule, 11).slope(states, warp(states.positions, molecule.nuclei, charges), charges)[::2]
    scale = states.log_scale[::2].exp()
    psi, slopes = states.psi[::2] * scale, slopes * scale[..., None, None]
    weighed = psi * weights[:, None]
    for nucleus in (0, 1):
        expected = slope_of(partial(core_energy, network), nucleus)
        found = torch.linalg.solve(psi.T @ weighed, weighed.T @ slopes[:, nucleus, 2])
        assert expected.abs().min() > 0.01
        torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_the_core_part_of_two_electrons_is_the_sum_of_those_of_each(monkeypatch):
    monkeypatch.setattr(core_slope, "WEAK", 1e-30)
    molecule, positions = LIH.with_ecp({"Li": "ccecp"}), noise(9, 2, 3)
    charges = molecule.charges.double()

    def found(molecule, positions):
        states = states_at(NaturalStates(Sums(molecule, [[0.7, 1.0]], [[1.0, 0.3]], power=2)), positions)
        slope = CoreSlope(molecule, 31).slope(states, warp(positions, states.nuclei, charges), charges)
        return slope[..., 0] / states.psi[:, :, None]

    one = dataclasses.replace(molecule, charge=1, spin=1)
    parts = [found(one, positions[:, k : k + 1]) for k in (0, 1)]
    torch.testing.assert_close(found(molecule, positions), sum(parts), rtol=1e-6, atol=1e-8)
    assert (parts[0] - parts[1]).abs().max() > 0.1


@pytest.mark.parametrize("complex", [False, True])
def test_states_elsewhere_have_the_gradients_that_they_have_at_their_points(complex):
    sizes = {"n_layers": 1, "hidden_one": 6, "hidden_two": 3, "n_determinants": 2, "n_states": 2}
    network = FermiNet(LIH, **sizes, complex=complex, dtype=DOUBLE)
    states = states_at(NaturalStates(network), noise(7, 8, 3))
    numbers, electrons = torch.tensor([3, 0, 13, 3]), torch.tensor([0, 3, 2, 1])
    psi, slopes = states.slopes_at(states.positions[numbers], numbers, electrons)
    torch.testing.assert_close(psi, states.psi[numbers].detach(), rtol=1e-10, atol=1e-12)
    expected = states.gradient[numbers, :, electrons].detach()
    torch.testing.assert_close(slopes, expected, rtol=1e-8, atol=1e-10)
    assert slopes.is_complex() == complex


def test_electrons_taken_by_lot_do_not_change_the_mean():
    molecule = UNLIKE.with_ecp({"He": INVENTED})
    network, charges = Sums(molecule, [[0.6, 0.9]], [[1.0, 0.7]], power=2), molecule.charges.double()
    far = torch.tensor([[[0.5, 0.2, -1.9]]], dtype=DOUBLE).expand(4000, 1, 3)
    with torch.no_grad():
        states = states_at(NaturalStates(network), far)
        core, moving = CoreSlope(molecule, 11), warp(far, molecule.nuclei, charges)
        sampled = core.slope(states, moving, charges)[..., 0].flatten(1)
        core_slope.WEAK, kept = 1e-30, core_slope.WEAK
        try:
            whole = core.slope(states, moving, charges)[..., 0].flatten(1)
        finally:
            core_slope.WEAK = kept
    errors = (sampled.var(0) + whole.var(0)).div(len(far)).sqrt()
    assert (sampled[:, 2] == sampled[:, 2].mode().values).double().mean() > 0.2  # many were left out
    assert ((sampled.mean(0) - whole.mean(0)).abs() < 4 * errors + 1e-14).all()
    assert whole.mean(0)[2].abs() > 10 * errors[2]


def test_electrons_that_their_nucleus_takes_along_are_left_out():
    molecule = UNLIKE.with_ecp({"He": INVENTED})
    charges, near = molecule.charges.double(), torch.tensor([[[0.0, 0.02, -0.01]]], dtype=DOUBLE).expand(50, 1, 3)
    with torch.no_grad():
        states = states_at(NaturalStates(Sums(molecule, [[0.6, 0.9]], [[1.0, 0.7]], power=2)), near)
        refused = dataclasses.replace(states, slopes_at=lambda *_: 1 / 0)
        slopes = CoreSlope(molecule).slope(refused, warp(near, molecule.nuclei, charges), charges)
        assert slopes.abs().max() < 0.1
        assert (EffectiveCore(molecule)(states) / states.psi[:, None]).abs().min() > 1


def test_the_say_of_other_nuclei_on_a_sphere_has_its_bound_where_they_are_nearest():
    molecule = Molecule(("O", "H", "H"), ((0, 0, 0), (0, 1.5, 1.1), (0, -1.5, 1.1)))
    charges, radii = molecule.charges.double(), torch.tensor([0.3, 1.0, 1.86, 2.5], dtype=DOUBLE)
    directions = torch.nn.functional.normalize(noise(4000, 3, seed=8), dim=-1)
    for nucleus, place in enumerate(molecule.nuclei):
        spheres = place + radii[:, None, None] * directions  # (4, 4000, 3)
        outside = 1 - warp_weights(spheres, molecule.nuclei, charges)[..., nucleus]
        distances = radii[:, None].expand(4, 3)
        bounds = largest_outside(distances, molecule.nuclei, charges)[:, nucleus]
        assert (outside.amax(1) <= bounds * (1 + 1e-12)).all()
        assert (outside.amax(1) > 0.3 * bounds).all()
    alone = torch.ones(2, 1, 1, dtype=DOUBLE)
    assert not largest_outside(alone, molecule.nuclei[:1], charges[:1]).any()


@pytest.mark.parametrize("ecp", [None, {"Li": "ccecp"}], ids=["all electrons", "ecp"])
def test_forces_turn_with_the_molecule_and_add_up_to_zero(ecp, monkeypatch):
    molecule = Molecule(("Li", "H", "H"), ((0.1, 0, 0), (0.2, 3.0, 0.3), (-1.0, -0.5, 2.5)), spin=1).with_ecp(ecp or {})
    turn = torch.linalg.qr(noise(3, 3, seed=5))[0]
    turn = turn * torch.linalg.det(turn).sign()
    turned = dataclasses.replace(molecule, coordinates=tuple(map(tuple, (molecule.nuclei @ turn.T).tolist())))
    positions = noise(30, molecule.n_electrons, 3, seed=2) + molecule.nuclei[torch.arange(molecule.n_electrons) % 3]
    if ecp:  # a rule that needs no turning, for all electrons
        monkeypatch.setattr(core_slope, "WEAK", 1e-30)
        monkeypatch.setattr(EffectiveCore.__init__, "__defaults__", (31,))
    parts = [[1.2, 0.8, 0.9]], [[1.0, 0.3, 0.5]]
    first = forces_at(Sums(molecule, *parts, power=2), positions).unflatten(1, (4, 3))
    second = forces_at(Sums(turned, *parts, power=2), positions @ turn.T).unflatten(1, (4, 3))
    torch.testing.assert_close(second, first @ turn.T, rtol=1e-5, atol=1e-5)
    assert (first[:, :3].sum(1).abs() < 1e-9 * (1 + first.abs().amax((1, 2)))[:, None]).all()
    torque = torch.linalg.cross(molecule.nuclei.expand(30, 3, 3), first[:, :3]).sum(1)
    torch.testing.assert_close(first[:, 3], torque, rtol=1e-9, atol=1e-9)
    assert first[:, :3].abs().min() > 0


def test_forces_go_with_their_nuclei():
    positions, swapped = noise(20, 4, 3), Molecule(LIH.symbols[::-1], LIH.coordinates[::-1])
    found = forces_at(Sums(LIH, [[2.7, 1.0]], [[1.0, 0.3]]), positions)
    other = forces_at(Sums(swapped, [[1.0, 2.7]], [[0.3, 1.0]]), positions)
    torch.testing.assert_close(other[:, [3, 4, 5, 0, 1, 2, 6, 7, 8]], found)
    names = Forces(swapped).components
    assert names[0] == "H1 x"
    assert names[5] == "Li2 z"
    assert names[8] == "torque z"


def test_correlated_sampling_of_a_network_has_the_same_slope_at_every_walker():
    sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2, "jastrow": "cusp"}
    network = FermiNet(LIH, **sizes, dtype=DOUBLE).requires_grad_(False)
    states = states_at(NaturalStates(network), noise(20, 4, 3, seed=3) + LIH.nuclei[[0, 1, 0, 0]])
    states = dataclasses.replace(states, psi=torch.ones(20, 1, dtype=DOUBLE))
    hamiltonian, charges, direction = MolecularHamiltonian(LIH), LIH.charges.double(), noise(2, 3, seed=4)

    def follow(electron, step):
        return electron + step * warp_weights(electron[None], LIH.nuclei, charges)[0] @ direction

    def log_volume(electron, step):
        return torch.linalg.slogdet(torch.func.jacrev(follow)(electron, step))[1]

    def slope_there(electron, gradient, step):
        """Gradient of log psi that is carried along, by the new position of an electron."""
        change = torch.func.jacrev(log_volume)(electron, step)
        return torch.linalg.solve(torch.func.jacrev(follow)(electron, step).T, gradient - change / 2)

    def each(function, *values):
        return torch.func.vmap(torch.func.vmap(function, (0,) * len(values)))(*values)

    def energy(step):
        electrons = each(lambda r: follow(r, step), states.positions)
        gradients = each(lambda r, g: slope_there(r, g, step), states.positions, states.log_gradient[:, 0])
        there = dataclasses.replace(states, positions=electrons, nuclei=states.nuclei + step * direction)
        potential = sum(term for name, term in hamiltonian(there).terms.items() if name != "kinetic")[:, 0, 0]
        return potential + gradients.square().sum((-2, -1)) / 2

    difference = (8 * (energy(STEP) - energy(-STEP)) - energy(2 * STEP) + energy(-2 * STEP)) / (12 * STEP)
    forces = Forces(LIH)
    forces.reach = 1e-12
    found = -(forces(states)[:, :6, 0].unflatten(1, (2, 3)) * direction).sum((1, 2))
    torch.testing.assert_close(found, difference, rtol=1e-6, atol=1e-6)
    assert difference.abs().min() > 1e-3


def test_the_tail_has_no_weight_of_its_own():
    x = torch.linspace(0, 1, 20_001, dtype=DOUBLE)
    values = tail(x)
    assert float(torch.trapezoid(1 - values, x)) == pytest.approx(0, abs=1e-8)
    assert values[0] == 0
    assert values[-1] == pytest.approx(1, abs=1e-12)
    assert float((values[-1] - values[-2]) / 5e-5) == pytest.approx(0, abs=0.01)
    assert tail(torch.tensor([1.5, 30.0])).tolist() == [1, 1]


OFF = 0.7


class Planar(Sums):
    """psi = (z + c) exp(-a r) about the first nucleus: a node, near which the kinetic part is infinite."""

    def forward(self, positions, nuclei):
        vectors = positions[..., 0, :] - nuclei[..., 0, :]
        factor, decay = vectors[..., 2] + OFF, torch.linalg.vector_norm(vectors, dim=-1) * -self.exponents[0, 0]
        sign = torch.sgn(factor.value if hasattr(factor, "value") else factor)
        return sign[..., None], (torch.log(torch.abs(factor)) + decay)[..., None]


def planar_samples(a, count):
    """Draw electrons from psi^2, by accepting some of the isotropic ones of 2 (r^2 + c^2) exp(-2 a r)."""
    generator, inner = np.random.default_rng(2), OFF**2 * 2 / (2 * a) ** 3
    shape = np.where(generator.uniform(size=count) < inner / (inner + 24 / (2 * a) ** 5), 3, 5)
    directions, radii = generator.normal(size=(count, 3)), generator.gamma(shape, 0.5 / a)
    positions = directions / np.linalg.norm(directions, axis=-1, keepdims=True) * radii[:, None]
    kept = generator.uniform(size=count) < (positions[:, 2] + OFF) ** 2 / (2 * (radii**2 + OFF**2))
    return torch.from_numpy(positions[kept])[:, None]


def test_near_nodes_what_is_averaged_stays_finite_and_the_mean_is_kept():
    molecule = Molecule.diatomic("H", "H", 4.0, "bohr", charge=1, spin=1)
    network = Planar(molecule, [[0.6, 1.0]], [[1.0, 0.0]])
    samples = forces_at(network, planar_samples(0.6, 200_000)[:60_000] + molecule.nuclei[0])
    for place, nucleus in ((2, 0), (5, 1)):
        slope = slope_of(partial(energies, network, reach=30.0), nucleus).item()
        mean, error = samples[:, place].mean().item(), samples[:, place].std().item() / len(samples) ** 0.5
        assert error < 0.003
        assert abs(mean + slope) < 4 * error
    distances = torch.tensor([1e-2, 1e-4, 1e-6], dtype=DOUBLE)
    near = (
        torch.stack([torch.full((3,), 0.3), torch.full((3,), 0.2), distances - OFF], -1)[:, None] + molecule.nuclei[0]
    )
    states = states_at(NaturalStates(network), near)
    charges = molecule.charges.double()
    kinetic = kinetic_slope(states, states.sampled_gradient(), warp(near, states.nuclei, charges))[:, 0, 2, 0]
    assert ((kinetic / states.psi[:, 0]).abs() * distances**2 > 1e-3).all()
    assert torch.allclose(node_distance(states.log_gradient)[:, 0], distances, rtol=0.05)
    assert (forces_at(network, near)[:, :6].abs() < 1e3).all()


def test_derivatives_of_the_warp():
    positions, nuclei, charges = noise(20, 3, 3).requires_grad_(), noise(4, 3, seed=1), torch.tensor([1.0, 3, 8, 1])
    found = warp(positions, nuclei, charges)
    torch.testing.assert_close(found.weights.sum(-1), torch.ones(20, 3, dtype=DOUBLE))
    for nucleus in range(4):
        weights, slopes = found.weights[..., nucleus], found.slopes[..., nucleus, :]
        (expected,) = torch.autograd.grad(weights.sum(), positions, retain_graph=True)
        torch.testing.assert_close(slopes, expected, rtol=1e-9, atol=1e-11)
        for axis in range(3):
            (expected,) = torch.autograd.grad(slopes[..., axis].sum(), positions, retain_graph=True)
            torch.testing.assert_close(found.curvatures[..., nucleus, axis, :], expected, rtol=1e-8, atol=1e-9)
    on_nuclei = warp(nuclei[None], nuclei, charges)
    assert (on_nuclei.slopes.abs() < 1e-9).all()
    torch.testing.assert_close(warp_weights(nuclei[None], nuclei, charges)[0], torch.eye(4, dtype=DOUBLE))


def test_further_terms_are_refused_by_name():
    single = NaturalStates(Sums(LIH, [[1.0, 1.0]], [[1.0, 1.0]]))

    class Field:
        name = "field"

    check_observables(["forces", "dipole"], single, MolecularHamiltonian(LIH))
    with_core = LIH.with_ecp({"Li": "ccecp"})
    check_observables(
        ["forces"], NaturalStates(Sums(with_core, [[1.0, 1]], [[1.0, 1]])), MolecularHamiltonian(with_core)
    )
    with pytest.raises(ValueError, match="is for molecules alone: this run adds the terms field"):
        check_observables(["forces"], single, MolecularHamiltonian(LIH, [Field()]))
