import itertools

import pytest
import torch

from qmcnet.ansatz.cusp import ElectronCusp
from qmcnet.system.molecule import Molecule


def jastrow(n_up, n_down, ranges=(0.8, 1.7)):
    molecule = Molecule(["H"] * (n_up + n_down), torch.randn(n_up + n_down, 3).tolist(), spin=n_up - n_down)
    factor = ElectronCusp(molecule).double()
    with torch.no_grad():
        factor.range.copy_(torch.tensor(ranges))
    return factor


def distances(positions):
    return (positions[:, :, None] - positions[:, None]).norm(dim=-1)


def slope(factor, distance):
    r = torch.tensor(distance, dtype=torch.float64, requires_grad=True)
    apart = 1 - torch.eye(2, dtype=torch.float64)
    (derivative,) = torch.autograd.grad(factor(None, (r * apart)[None]).sum(), r)
    return derivative.item()


@pytest.mark.parametrize("ranges", [(1.0, 1.0), (0.3, 2.5), (-0.7, -1.4)])
@pytest.mark.parametrize(("n_up", "n_down", "cusp"), [(2, 0, 0.25), (1, 1, 0.5)])
def test_slope_at_coincidence_is_the_cusp(n_up, n_down, cusp, ranges):
    factor = jastrow(n_up, n_down, ranges)
    assert slope(factor, 0.0) == pytest.approx(cusp, rel=1e-12)
    assert 0 < slope(factor, 1.0) < cusp


def test_sum_over_pairs():
    positions = torch.randn(6, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    d_ee, expected = distances(positions), torch.zeros(6, dtype=torch.float64)
    for i, j in itertools.combinations(range(5), 2):
        equal = (i < 3) == (j < 3)
        cusp, a = (0.25, 0.8) if equal else (0.5, 1.7)
        expected -= cusp * a**2 / (a + d_ee[:, i, j])
    torch.testing.assert_close(jastrow(3, 2)(None, d_ee), expected, rtol=1e-7, atol=0)


def test_one_electron_has_no_jastrow():
    assert jastrow(1, 0)(None, torch.zeros(3, 1, 1, dtype=torch.float64)).tolist() == [0, 0, 0]


def test_the_factor_tends_to_one_far_apart():
    d_ee = torch.full((1, 2, 2), 1e9, dtype=torch.float64) * (1 - torch.eye(2))
    assert abs(jastrow(1, 1)(None, d_ee).item()) < 1e-8


def test_only_the_ranges_are_learned():
    factor = ElectronCusp(Molecule.atom("Li"))
    assert [name for name, _ in factor.named_parameters()] == ["range"]
    assert list(factor.state_dict()) == ["range"]
