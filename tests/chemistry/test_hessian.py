import numpy as np
import pytest

from qmcnet.chemistry import hessian
from qmcnet.chemistry.hessian import mean_field_hessian
from qmcnet.chemistry.scf import build_mole, default_basis, solve
from qmcnet.system.molecule import Molecule


def energy(molecule):
    return solve(build_mole(molecule, default_basis(molecule)), "uhf").e_tot


def test_molecules_without_electrons_of_spin_down_have_second_derivatives():
    """Of the two nuclei of H2+, the second derivative along the bond is that of the energy by its length."""
    found = mean_field_hessian(Molecule.diatomic("H", "H", 2.0, "bohr", charge=1, spin=1))
    lower, middle, upper = (
        energy(Molecule.diatomic("H", "H", 2.0 + shift, "bohr", charge=1, spin=1)) for shift in (-0.02, 0, 0.02)
    )
    assert found[5, 5] == pytest.approx((lower - 2 * middle + upper) / 0.02**2, abs=1e-3)
    np.testing.assert_allclose(found[:, :3], -found[:, 3:], atol=1e-4)


def test_differences_of_gradients_are_second_derivatives():
    molecule = Molecule.diatomic("Li", "H", 3.0, "bohr")
    np.testing.assert_allclose(hessian._differences(molecule), mean_field_hessian(molecule), atol=1e-4)
