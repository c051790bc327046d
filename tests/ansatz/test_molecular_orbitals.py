import pytest
import torch

from qmcnet.ansatz.molecular_orbitals import MolecularOrbitals, basis_functions
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.laplacian import torch_func_laplacian, track
from qmcnet.laplacian.supports import Kind
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
MEAN_FIELD = hartree_fock(LIH, "cc-pvtz", "rohf")
ORBITALS = MEAN_FIELD.orbitals
MIX = torch.randn(3, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


def electrons_alone(r):
    return torch.tanh(r @ MIX)


def all_electrons(r):
    return r + torch.tanh(r @ MIX).sum(-2, keepdim=True)


def positions(n_walkers=3, n_electrons=4):
    return torch.randn(n_walkers, n_electrons, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shift", "kind"),
    [(lambda r: r, Kind.ELECTRON), (electrons_alone, Kind.ELECTRON), (all_electrons, Kind.DENSE)],
    ids=["positions", "functions of them", "backflow"],
)
def test_derivatives_are_those_of_automatic_differentiation(shift, kind):
    basis, r = ORBITALS.basis, positions()
    result = basis_functions(basis, shift(track(r)), LIH.nuclei)
    assert result.support.kind is kind
    torch.testing.assert_close(result.value, basis(shift(r)), rtol=1e-12, atol=1e-12)
    dense = result.dense()
    weights = torch.randn(result.shape[1:], dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    expected = torch_func_laplacian(lambda x: (basis(shift(x)) * weights).sum((-2, -1)), r)
    gradient = (dense.jacobian * weights).sum((-2, -1)).T.unflatten(-1, (4, 3))
    torch.testing.assert_close(gradient, expected.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((dense.laplacian * weights).sum((-2, -1)), expected.laplacian, rtol=1e-9, atol=1e-8)
    assert expected.laplacian.abs().min() > 1e-2


@pytest.mark.parametrize("trainable", [True, False])
def test_orbitals_are_those_of_the_mean_field(trainable):
    orbitals = MolecularOrbitals(ORBITALS.basis, ORBITALS.up, trainable)
    ((up,), (down,)) = (matrix.unbind(1) for matrix in excited_determinants(MEAN_FIELD, 1, "ordered", 0)(positions()))
    torch.testing.assert_close(orbitals(positions(), LIH.nuclei)[:, :2], up)
    torch.testing.assert_close(orbitals(positions(), LIH.nuclei)[:, 2:], down)
    assert len(list(orbitals.parameters())) == trainable
    assert torch.equal(orbitals.state_dict()["combination.weight"], ORBITALS.up.T)


def test_further_batch_axes_work():
    orbitals, r = MolecularOrbitals(ORBITALS.basis, ORBITALS.up, True), positions(6)
    torch.testing.assert_close(
        orbitals(r.unflatten(0, (2, 3)), LIH.nuclei), orbitals(r, LIH.nuclei).unflatten(0, (2, 3))
    )
