"""Laws of every operator that there is, found by itself."""

import pytest
import torch
from evaluating import states_of

from qmcnet import FermiNet, ForwardLaplacian, Molecule, NaturalStates, ProductStates
from qmcnet.operators.coulomb import ElectronElectron, ElectronNucleus, NucleusNucleus
from qmcnet.operators.kinetic import Kinetic
from qmcnet.operators.operator import OBSERVABLES
from qmcnet.operators.spin import ExcessSpin

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
MAKERS = {
    **{name: kind for name, kind in OBSERVABLES.items() if not hasattr(kind, "check")},  # others are not for all states
    "kinetic": lambda molecule: Kinetic(),
    "electron_nucleus": ElectronNucleus,
    "electron_electron": lambda molecule: ElectronElectron(),
    "nucleus_nucleus": NucleusNucleus,
    "spin_penalty": lambda molecule: ExcessSpin(molecule, 0.7),
}


@pytest.fixture(scope="module", params=[False, True], ids=["real", "complex"])
def network(request):
    sizes = {"n_layers": 1, "hidden_one": 5, "hidden_two": 3, "n_determinants": 2, "n_states": 3}
    return FermiNet(LIH, **sizes, complex=request.param, dtype=torch.float64)


@pytest.fixture(scope="module", params=MAKERS)
def operator(request):
    return MAKERS[request.param](LIH)


def at_random(copies):
    positions = torch.randn(4, copies * LIH.n_electrons, 3, generator=torch.Generator().manual_seed(2))
    return 1.5 * positions.double()


def local(operator, network, kind=NaturalStates):
    """Local matrices (B, C, S, S), with the same random numbers every time."""
    generator = torch.Generator().manual_seed(7)
    states = states_of(network, at_random(3), ForwardLaplacian(), generator, kind)
    return states.local(operator(states))


def test_a_change_of_basis_changes_local_matrices_as_it_does_matrix_elements(operator, network, mixed, mixing):
    matrix = mixing(3).to(torch.complex128 if network.settings["complex"] else torch.float64)
    expected = local(operator, network)
    found = local(operator, mixed(network, matrix))
    turned = torch.linalg.solve(matrix.to(expected), expected @ matrix.to(expected))
    torch.testing.assert_close(found, turned, rtol=1e-7, atol=1e-7 * float(expected.abs().max()))


def test_the_points_of_a_product_see_the_same_operator(operator, network):
    natural, product = (
        states_of(network, at_random(3), ForwardLaplacian(), torch.Generator().manual_seed(7), kind)
        for kind in (NaturalStates, ProductStates)
    )
    psi = product.by_walker(product.psi)[:, None]  # (B, 1, S, S)
    expected = psi @ natural.local(operator(natural))  # O psi_k at x^j
    found = product.local(operator(product)) * psi.diagonal(dim1=-2, dim2=-1)[..., None]
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9 * float(expected.abs().max()))


def test_one_component_for_each_name(operator, network):
    count = len(getattr(operator, "components", ["hartree"]))
    assert local(operator, network).shape == (4, count, 3, 3)
    assert local(operator, network).isfinite().all()
