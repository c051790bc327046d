import math

import pytest

from qmcnet import Molecule
from qmcnet.states.slope import slope_of
from qmcnet.statistics.zero_variance import SPREAD

# Exact non-relativistic energies of Chakravorty et al., Phys. Rev. A 47, 3649 (1993).
ATOMS = {"H": -0.5, "Li": -7.47806, "Be": -14.66736, "C": -37.8450, "N": -54.5892, "O": -75.0673, "Ne": -128.9376}


@pytest.mark.parametrize(("symbol", "energy"), ATOMS.items())
def test_the_slope_of_an_atom_is_the_inverse_of_its_energy_and_that_of_a_valence(symbol, energy):
    slope = slope_of(Molecule.atom(symbol))
    assert slope.median == pytest.approx(1 / (2 - energy), rel=0.07)
    assert slope.spread == SPREAD


def test_equal_atoms_have_the_slope_of_one_and_hydrogen_hardly_counts_beside_a_heavy_atom():
    nitrogen, lithium = Molecule.atom("N"), Molecule.atom("Li")
    assert slope_of(Molecule.diatomic("N", "N", 2.0, "bohr")).median == pytest.approx(slope_of(nitrogen).median)
    ratio = slope_of(Molecule.diatomic("Li", "H", 3.0, "bohr")).median / slope_of(lithium).median
    assert 1 < ratio < 1.1
    assert math.isclose(slope_of(Molecule.chain("H", 10, 1.8, "bohr")).median, 0.4)
