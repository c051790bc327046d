"""Forces: exact states, closed forms, correlated sampling, nodes, error bars, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from qmcnet import FermiNet, ForwardLaplacian, MolecularHamiltonian, Molecule, NaturalStates, states_at
from qmcnet.operators.forces import Forces, node_distance, tail
from qmcnet.sampling.space_warp import space_warp
from qmcnet.states.measurements import check_observables
from qmcnet.statistics.jackknife import jackknife
from qmcnet.system.warp import warp_slopes, warp_weights

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")


def noise(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


class Product(nn.Module):
    """psi = prod_i sum_A c_A exp(-a_A |r_i - R_A|)."""

    def __init__(self, molecule, exponents, weights):
        super().__init__()
        self.molecule = molecule
        self.exponents = nn.Parameter(torch.tensor(exponents, dtype=DOUBLE))
        self.weights = nn.Parameter(torch.tensor(weights, dtype=DOUBLE))

    def forward(self, positions, nuclei):
        distances = torch.linalg.vector_norm(positions[..., :, None, :] - nuclei[..., None, :, :], dim=-1)
        orbitals = (torch.exp(distances * -self.exponents) * self.weights).sum(-1)
        log_abs = torch.log(orbitals).sum(-1)
        return torch.ones(log_abs.shape, dtype=DOUBLE), log_abs


def columns(network, positions):
    """What forces are made of, at positions (M, N, 3), as (M, 6 A + 1)."""
    forces = Forces(network.molecule)
    states = states_at(NaturalStates(network), positions, ForwardLaplacian())
    return forces, (forces(states)[..., 0] / states.psi).detach()


@pytest.mark.parametrize(("symbol", "charge"), [("H", 0), ("He", 1), ("Li", 2)])
def test_an_exact_atom_off_centre_has_no_force_at_any_walker(symbol, charge):
    molecule = Molecule((symbol,), ((0.4, -1.0, 0.2),), charge=charge, spin=1)
    exact, other = (
        columns(Product(molecule, [molecule.charges.item() * factor], [1.0]), noise(50, 1, 3))[1] for factor in (1, 1.1)
    )
    change = exact[:, :3] - exact[:, -1:] * exact[:, 3:6]
    assert (exact[:, 3:6].abs() < 1e-11).all()  # the electron goes with the nucleus
    assert (change.abs() < 1e-9).all()
    assert other[:, -1].std() > 0.01


def exact_samples(exponent, count, seed=1):
    """Draw electrons from exp(-2 a r), as (count, 1, 3)."""
    generator = np.random.default_rng(seed)
    directions = generator.normal(size=(count, 1, 3))
    radii = generator.gamma(3, 0.5 / exponent, size=(count, 1, 1))
    return torch.from_numpy(directions / np.linalg.norm(directions, axis=-1, keepdims=True) * radii)


def closed_form(a, r):
    """Energy of an electron in exp(-a r) about one of two protons."""
    return a**2 / 2 - a + np.exp(-2 * a * r) * (a + 1 / r)


@pytest.mark.parametrize(("exponent", "length"), [(1.0, 1.5), (1.3, 2.0), (0.8, 1.0)])
def test_the_force_is_the_slope_of_an_energy_in_closed_form(exponent, length):
    molecule = Molecule.diatomic("H", "H", length, "bohr", charge=1, spin=1)
    positions = exact_samples(exponent, 40_000) + molecule.nuclei[0]
    forces, samples = columns(Product(molecule, [exponent, 1.0], [1.0, 0.0]), positions)
    step = 1e-3
    slope = (closed_form(exponent, length + step) - closed_form(exponent, length - step)) / (2 * step)
    expected = [0, 0, slope, 0, 0, -slope]
    groups = samples.unflatten(0, (40, -1)).mean(1).numpy()
    values, errors = forces.report(groups)
    assert groups[:, -1].mean() == pytest.approx(closed_form(exponent, length), abs=0.01)
    assert (np.abs(values[:6] - expected) < 4 * errors[:6] + 1e-12).all()
    assert (errors[:6] < 0.02).all()
    assert (np.abs(values[6:9]) < 1e-10).all()  # the net force vanishes at each walker


def warped(positions, before, after):
    """Move electrons with the nuclei; return where they go, and log |det dr'/dr|."""
    leaf = positions.clone().requires_grad_()
    moved = space_warp(leaf, before, after)
    rows = [torch.autograd.grad(moved[..., axis].sum(), leaf, retain_graph=True)[0] for axis in range(3)]
    return moved.detach(), torch.linalg.det(torch.stack(rows, -2)).log().sum(1)


@pytest.mark.parametrize("complex", [False, True])
def test_correlated_sampling_of_the_same_walkers_has_the_same_slope(complex):
    sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2, "jastrow": "cusp"}
    network = FermiNet(LIH, **sizes, complex=complex, dtype=DOUBLE).requires_grad_(False)
    ensemble, hamiltonian = NaturalStates(network), MolecularHamiltonian(LIH)
    backend, nuclei = ForwardLaplacian(), ensemble.nuclei.clone()
    positions = noise(40, 4, 3, seed=3) + nuclei[[0, 1, 0, 0]]
    far = node_distance(states_at(ensemble, positions, backend).log_gradient[:, 0]) > 0.05  # where nothing is changed
    positions = positions[far]
    assert len(positions) > 10
    direction = noise(2, 3, seed=4)

    def energy(step):
        """Weigh the walkers as they are in another geometry."""
        moved, log_volumes = warped(positions, nuclei, nuclei + step * direction)
        ensemble.nuclei.copy_(nuclei + step * direction)
        states = states_at(ensemble, moved, backend)
        weights = (2 * states.log_scale[:, 0] + log_volumes - 2 * start).exp()
        return (weights * hamiltonian(states).total.real).sum() / weights.sum()

    start = states_at(ensemble, positions, backend).log_scale[:, 0]
    at = {k: float(energy(1e-3 * k)) for k in (-2, -1, 1, 2)}
    slope = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * 1e-3)
    ensemble.nuclei.copy_(nuclei)
    forces, samples = columns(network, positions)
    values, _ = forces.report(samples.numpy()[None].mean(1))
    assert abs(slope) > 0.1
    assert -slope == pytest.approx(float((values[:6].reshape(2, 3) * direction.numpy()).sum()), rel=1e-6)


def test_forces_go_with_their_nuclei():
    positions, swapped = noise(20, 4, 3), Molecule(LIH.symbols[::-1], LIH.coordinates[::-1])
    first, found = columns(Product(LIH, [2.7, 1.0], [1.0, 0.3]), positions)
    second, other = columns(Product(swapped, [1.0, 2.7], [0.3, 1.0]), positions)
    turned = [f"{kind} {atom} {axis}" for kind in ("slope", "weight") for atom in ("Li2", "H1") for axis in "xyz"]
    torch.testing.assert_close(other[:, [second.components.index(name) for name in turned]], found[:, :-1])
    assert first.components[0] == "slope Li1 x"


def test_the_tail_has_no_weight_of_its_own():
    x = torch.linspace(0, 1, 20_001, dtype=DOUBLE)
    values = tail(x)
    assert float(torch.trapezoid(1 - values, x)) == pytest.approx(0, abs=1e-8)
    assert values[0] == 0
    assert values[-1] == pytest.approx(1, abs=1e-12)
    assert float((values[-1] - values[-2]) / 5e-5) == pytest.approx(0, abs=0.01)
    assert tail(torch.tensor([1.5, 30.0])).tolist() == [1, 1]


OFF = 0.7


class Planar(Product):
    """psi = (z + c) exp(-a r) about the first nucleus: a node where the local energy is infinite."""

    def forward(self, positions, nuclei):
        vectors = positions[..., 0, :] - nuclei[..., 0, :]
        factor, decay = vectors[..., 2] + OFF, torch.linalg.vector_norm(vectors, dim=-1) * -self.exponents[0]
        sign = torch.sgn(factor.value if hasattr(factor, "value") else factor)
        return sign, torch.log(torch.abs(factor)) + decay


def planar_samples(a, count):
    """Draw electrons from psi^2, by accepting some of the isotropic ones of 2 (r^2 + c^2) exp(-2 a r)."""
    generator, inner = np.random.default_rng(2), OFF**2 * 2 / (2 * a) ** 3
    shape = np.where(generator.uniform(size=count) < inner / (inner + 24 / (2 * a) ** 5), 3, 5)
    directions, radii = generator.normal(size=(count, 3)), generator.gamma(shape, 0.5 / a)
    positions = directions / np.linalg.norm(directions, axis=-1, keepdims=True) * radii[:, None]
    kept = generator.uniform(size=count) < (positions[:, 2] + OFF) ** 2 / (2 * (radii**2 + OFF**2))
    return torch.from_numpy(positions[kept])[:, None]


def planar_attraction(a, length):
    """Energy of the second nucleus with the electron and the first nucleus."""
    s = np.linspace(0, 60, 200_001)[1:]
    inner, outer, weight = np.minimum(s, length), np.maximum(s, length), s**2 * np.exp(-2 * a * s)
    multipoles = [s**2 / 3 + OFF**2, 2 * OFF * s, 2 * s**2 / 3]
    parts = (weight * part / (2 * n + 1) * inner**n / outer ** (n + 1) for n, part in enumerate(multipoles))
    return 1 / length - sum(part.sum() for part in parts) / (weight * multipoles[0]).sum()


def test_near_nodes_what_is_averaged_stays_finite_and_the_mean_is_kept():
    a, length = 0.6, 4.0
    molecule = Molecule.diatomic("H", "H", length, "bohr", charge=1, spin=1)
    network, positions = Planar(molecule, [a, 1.0], [1.0, 0.0]), planar_samples(a, 200_000)[:30_000]
    slope = (planar_attraction(a, length + 0.01) - planar_attraction(a, length - 0.01)) / 0.02
    forces, samples = columns(network, positions + molecule.nuclei[0])
    values, errors = forces.report(samples.unflatten(0, (50, -1)).mean(1).numpy())
    assert errors[2] < 0.002
    assert abs(values[2] - slope) < 4 * errors[2]
    assert abs(values[5] + slope) < 4 * errors[5]
    distances = torch.tensor([1e-2, 1e-4, 1e-6], dtype=DOUBLE)
    near = torch.stack([torch.full((3,), 0.3), torch.full((3,), 0.2), distances - OFF], -1)[:, None]
    beside = columns(network, near + molecule.nuclei[0])[1]
    assert (beside[:, -1].abs() * distances > 0.1).all()
    assert (beside[:, :6].abs() < 1e3).all()


def test_slopes_of_the_warp():
    positions, nuclei = noise(20, 3, 3).requires_grad_(), noise(4, 3, seed=1)
    weights = warp_weights(positions, nuclei)
    found = warp_slopes(positions, nuclei, weights)
    for nucleus in range(4):
        (expected,) = torch.autograd.grad(weights[..., nucleus].sum(), positions, retain_graph=True)
        torch.testing.assert_close(found[:, :, nucleus], expected, rtol=1e-10, atol=1e-12)
    on_nuclei = warp_slopes(nuclei[None], nuclei, warp_weights(nuclei[None], nuclei))
    assert (on_nuclei.abs() < 1e-12).all()


def test_errors_are_those_of_the_jackknife():
    forces, groups = Forces(LIH), noise(32, 13).numpy() + 3.0

    def force(means):
        slope, weight, energy = np.split(means["forces"], [6, 12])
        found = (energy * weight - slope).reshape(2, 3)
        torque = np.cross(LIH.nuclei.numpy(), found).sum(0)
        return {"it": np.concatenate([found.flatten(), found.sum(0), torque])}

    sums = {"forces": groups, "count": np.ones(32), "count of forces": np.ones(32)}
    expected, expected_errors = jackknife(force, sums)
    values, errors = forces.report(groups)
    np.testing.assert_allclose(values, expected["it"], rtol=1e-12)
    np.testing.assert_allclose(errors, expected_errors["it"], rtol=0.1, atol=1e-12)
    assert np.isnan(forces.report(groups[:1])[1]).all()
    assert len(forces.reported) == len(values) == 12


def test_what_forces_are_not_made_for_is_refused_by_name():
    single = NaturalStates(Product(LIH, [1.0, 1.0], [1.0, 1.0]))

    class Field:
        name = "field"

    check_observables(["forces", "dipole"], single, MolecularHamiltonian(LIH))
    with pytest.raises(ValueError, match="is for molecules alone: this run adds the terms field"):
        check_observables(["forces"], single, MolecularHamiltonian(LIH, [Field()]))
    with pytest.raises(ValueError, match="is for a single state: this run has 2"):
        Forces.check(LIH, 2, ())
    with pytest.raises(ValueError, match="is for all electrons: this run has effective core potentials"):
        Forces(LIH.with_ecp({"Li": "ccecp"}))
