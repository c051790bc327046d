import pytest
import torch

from qmcnet.ansatz.molecular_orbitals import MolecularOrbitals
from qmcnet.ansatz.orbital_cusps import REACH, OrbitalCusps
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.laplacian import torch_func_laplacian, track
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
TILTED = torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)


def functions(molecule, basis):
    """Functions of a basis set with cusps, one orbital each."""
    found = hartree_fock(molecule, basis, "rohf").orbitals.basis
    return MolecularOrbitals(found, torch.eye(found.n_ao, dtype=DOUBLE), False, OrbitalCusps(molecule, found)), found


def orbitals(molecule, basis):
    mean_field = hartree_fock(molecule, basis, "rohf").orbitals
    return MolecularOrbitals(mean_field.basis, mean_field.up, False, OrbitalCusps(molecule, mean_field.basis))


def along(nucleus, distances, direction=TILTED):
    """Places of an electron at distances from a nucleus, shape (Q, 1, 3)."""
    return (nucleus + torch.as_tensor(distances, dtype=DOUBLE)[:, None] * direction)[:, None]


@pytest.mark.parametrize(("nucleus", "charge"), [(0, 3.0), (1, 1.0)])
def test_every_function_has_the_cusp_of_the_nucleus(nucleus, charge):
    """The mean over two opposite directions is phi (1 - Z r) + O(r^2)."""
    cusped, plain = functions(LIH, "cc-pvtz")
    distances = [1e-4, 2e-4]
    both = sum(cusped(along(LIH.nuclei[nucleus], distances, side * TILTED), LIH.nuclei)[:, 0] for side in (1, -1)) / 2
    at_nucleus = cusped(along(LIH.nuclei[nucleus], [1e-12]), LIH.nuclei)[0, 0]
    slopes = (both - at_nucleus) / torch.tensor(distances, dtype=DOUBLE)[:, None]
    found, scale = (
        2 * slopes[0] - slopes[1],
        plain(torch.linspace(0, 3, 9, dtype=DOUBLE)[:, None] * TILTED).abs().amax(0),
    )
    assert ((found + charge * at_nucleus).abs() < 1e-4 * (charge * scale).clamp(min=1)).all()
    assert (at_nucleus.abs() > 1e-3).sum() > 5


@pytest.mark.parametrize("nucleus", [0, 1])
def test_functions_change_within_the_reach_alone_and_smoothly_to_the_second_derivative(nucleus):
    cusped, plain = functions(LIH, "cc-pvtz")
    reach = REACH / float(LIH.charges[nucleus])
    away = along(LIH.nuclei[nucleus], [reach * 1.001], torch.tensor([1.0, 0, 0], dtype=DOUBLE))
    assert torch.equal(cusped(away, LIH.nuclei), plain(away))

    def added(r):
        return cusped.cusps(torch.tensor([r, 99.0], dtype=DOUBLE)[[[0, 1], [1, 0]][nucleus]][None, None])[0, 0]

    inside, deeper = added(reach * 0.99), added(reach * 0.98)
    # What vanishes with two derivatives goes as the cube of the distance from where it does.
    ratio = deeper.abs().amax() / inside.abs().amax()
    assert ratio == pytest.approx(8, rel=0.1)
    assert added(reach * 0.1).abs().amax() > 1e-4


def test_an_exponential_of_the_nuclear_charge_is_an_exact_atom():
    """Hydrogen from Gaussians has the constant local energy of hydrogen within the reach to a tenth."""
    hydrogen = Molecule.atom("H")
    orbital = orbitals(hydrogen, "cc-pvqz")
    distances = torch.linspace(0.05, 1.5, 30, dtype=DOUBLE)
    found = torch_func_laplacian(
        lambda r: orbital(r, hydrogen.nuclei)[:, 0, 0].abs().log(), along(hydrogen.nuclei[0], distances)
    )
    energy = -0.5 * (found.laplacian + found.gradient.square().sum((-2, -1))) - 1 / distances
    assert (energy + 0.5).abs().max() < 0.1
    bare = MolecularOrbitals(orbital.basis, hartree_fock(hydrogen, "cc-pvqz", "rohf").orbitals.up, False)
    found = torch_func_laplacian(
        lambda r: bare(r, hydrogen.nuclei)[:, 0, 0].abs().log(), along(hydrogen.nuclei[0], distances)
    )
    energy = -0.5 * (found.laplacian + found.gradient.square().sum((-2, -1))) - 1 / distances
    assert (energy + 0.5).abs().max() > 1


@pytest.mark.parametrize(
    ("symbol", "basis", "before", "after"), [("Be", "cc-pvqz", 4, 0.01), ("Ne", "cc-pvtz", 200, 1)]
)
def test_the_local_energy_of_a_core_orbital_varies_less_by_hundreds(symbol, basis, before, after):
    """The field of the other core electron, of a hydrogen-like orbital of charge Z - 0.3, is taken into account."""
    molecule = Molecule.atom(symbol)
    charge = float(molecule.charges[0])
    r = torch.linspace(1e-3, 4, 800, dtype=DOUBLE)[:, None, None] / charge
    inner = charge - 0.3
    field = (1 / r - torch.exp(-2 * inner * r) * (inner + 1 / r))[:, 0, 0]
    variances = []
    for orbital in (orbitals(molecule, basis), orbitals(molecule, basis)):
        if variances:
            orbital.cusps = None
        tracked = orbital(track(r * TILTED), molecule.nuclei)
        value, laplacian = tracked.value[:, 0, 0], tracked.laplacian[:, 0, 0]
        energy = -0.5 * laplacian / value - charge / r[:, 0, 0] + field
        weight = (value * r[:, 0, 0]).square()
        mean = (weight * energy).sum() / weight.sum()
        variances.append(float((weight * (energy - mean).square()).sum() / weight.sum()))
    assert variances[0] < after
    assert variances[1] > before


def test_an_orbital_stays_where_it_is_but_for_what_gaussians_swing_about_it():
    cusped, mean_field = orbitals(LIH, "cc-pvtz"), hartree_fock(LIH, "cc-pvtz", "rohf").orbitals
    r = torch.linspace(1e-3, 1, 500, dtype=DOUBLE)
    places = along(LIH.nuclei[0], r)
    new, old = cusped(places, LIH.nuclei)[:, 0, 0], (mean_field.basis(places) @ mean_field.up)[:, 0, 0]
    change = (r * (new - old)).square().sum() / (r * old).square().sum()
    assert 1e-5 < change.sqrt() < 5e-3
