import pytest
import torch
from scipy.constants import physical_constants

from qmcnet.system.units import BOHR_PER_ANGSTROM, DEBYE_PER_E_BOHR, EV_PER_HARTREE, to_bohr


def test_factors_are_those_of_codata():
    bohr_radius_in_angstrom = physical_constants["Bohr radius"][0] * 1e10
    assert pytest.approx(1.0 / bohr_radius_in_angstrom, rel=1e-9) == BOHR_PER_ANGSTROM
    assert pytest.approx(physical_constants["Hartree energy in eV"][0], rel=1e-9) == EV_PER_HARTREE
    debye_in_coulomb_metre = 1e-21 / physical_constants["speed of light in vacuum"][0]
    e_bohr = physical_constants["atomic unit of electric dipole mom."][0]
    assert pytest.approx(e_bohr / debye_in_coulomb_metre, rel=1e-9) == DEBYE_PER_E_BOHR


def test_to_bohr_converts_numbers_and_tensors():
    assert to_bohr(2.5, "bohr") == pytest.approx(2.5)
    assert to_bohr(1.0, "angstrom") == pytest.approx(1.8897261, rel=1e-7)
    lengths = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    assert torch.equal(to_bohr(lengths, "angstrom"), lengths * BOHR_PER_ANGSTROM)


@pytest.mark.parametrize("units", ["Bohr", "nm", ""])
def test_unknown_units_are_named_with_the_choices(units):
    with pytest.raises(ValueError, match=rf"units='{units}'.*bohr, angstrom"):
        to_bohr(1.0, units)
