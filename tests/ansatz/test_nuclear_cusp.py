import pytest
import torch

from qmcnet.ansatz.nuclear_cusp import NuclearCusp
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")


def cusp(ranges=None):
    factor = NuclearCusp(LIH, hartree_fock(LIH).orbitals.basis)
    if ranges is not None:
        factor.log_range.data = torch.tensor(ranges, dtype=DOUBLE).log()
    return factor


@pytest.mark.parametrize("ranges", [None, (0.3, 1.2)])
@pytest.mark.parametrize(("nucleus", "charge"), [(0, 3.0), (1, 1.0)])
def test_the_slope_at_a_nucleus_is_minus_its_charge(nucleus, charge, ranges):
    d_en = torch.full((1, 4, 2), 2.5, dtype=DOUBLE)
    d_en[0, 1, nucleus] = 0
    d_en.requires_grad_()
    (slope,) = torch.autograd.grad(cusp(ranges)(d_en).sum(), d_en)
    assert slope[0, 1, nucleus].item() == pytest.approx(-charge, rel=1e-12)


def test_sum_over_electrons_and_nuclei():
    d_en = torch.rand(3, 4, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    expected = (3 * 0.3 * torch.exp(-d_en[..., 0] / 0.3) + 1.2 * torch.exp(-d_en[..., 1] / 1.2)).sum(-1)
    torch.testing.assert_close(cusp((0.3, 1.2))(d_en), expected)


def test_it_starts_within_the_tightest_functions():
    # The largest exponents of cc-pVDZ are 1469 for Li and 13.01 for H.
    expected = torch.tensor([0.5 / (2 * 1469.0) ** 0.5, 0.5 / (2 * 13.01) ** 0.5], dtype=DOUBLE)
    torch.testing.assert_close(cusp().log_range.detach().exp(), expected, rtol=1e-6, atol=0)
