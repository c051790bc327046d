import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyscf import gto

from qmcnet.chemistry.gto import GaussianBasis, Shell
from qmcnet.chemistry.scf import gaussian_basis

MOLES = {
    "LiH": ("Li 0 0 0; H 0 0 3.015", "aug-cc-pvdz", 0),
    "N2": ("N 0.1 -0.2 0; N 0.3 0.4 2.0", "cc-pvdz", 0),
    "C": ("C 0.2 0.1 -0.3", "cc-pvqz", 2),
}
WATER = "O 0 0 0.2; H 1.4 0 -0.9; H -1.4 0 -0.9"


def mole(atom, basis, spin=0):
    return gto.M(atom=atom, basis=basis, spin=spin, unit="bohr", verbose=0)


def points_near(mol, n=200):
    generator = torch.Generator().manual_seed(1)
    centers = torch.tensor(mol.atom_coords())
    chosen = centers[torch.randint(len(centers), (n,), generator=generator)]
    distances = torch.logspace(-4, 1, n, dtype=torch.float64)[:, None]
    return chosen + distances * torch.randn(n, 3, generator=generator, dtype=torch.float64)


def gradients_of(basis, points):
    return basis.derivatives(points, torch.eye(3, dtype=points.dtype).expand(*points.shape, 3))[1]


def random_positions(n_walkers, n_electrons):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n_walkers, n_electrons, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", MOLES)
def test_values_equal_pyscf(name):
    mol = mole(*MOLES[name])
    points = points_near(mol)
    expected = torch.tensor(mol.eval_gto("GTOval_sph", points.numpy()))
    torch.testing.assert_close(gaussian_basis(mol)(points), expected, rtol=0, atol=1e-10)
    assert expected.abs().max() > 1


@pytest.mark.parametrize("name", MOLES)
def test_gradients_equal_pyscf(name):
    mol = mole(*MOLES[name])
    points = points_near(mol)
    expected = torch.tensor(mol.eval_gto("GTOval_sph_deriv1", points.numpy()))[1:].transpose(0, 1)
    torch.testing.assert_close(gradients_of(gaussian_basis(mol), points), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MOLES)
def test_second_derivatives_equal_pyscf_for_any_metric(name):
    mol = mole(*MOLES[name])
    points = points_near(mol)
    generator = torch.Generator().manual_seed(4)
    factor = torch.randn(len(points), 3, 5, generator=generator, dtype=torch.float64)
    metric = factor @ factor.mT
    rows = torch.tensor(mol.eval_gto("GTOval_sph_deriv2", points.numpy()))  # 1, x, y, z, xx, xy, xz, yy, yz, zz
    hessian = rows[torch.tensor([[4, 5, 6], [5, 7, 8], [6, 8, 9]])]  # (3, 3, M, n_ao)
    expected = torch.einsum("mxy,xymf->mf", metric, hessian)
    basis = gaussian_basis(mol)
    values, _, curvature = basis.derivatives(points, metric)
    torch.testing.assert_close(values, basis(points), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(curvature, expected, rtol=1e-9, atol=1e-8)
    assert hessian.abs().max() > 10


def test_the_quadruple_zeta_case_has_g_shells_and_general_contractions():
    mol = mole(*MOLES["C"])
    assert gaussian_basis(mol).degree == 4
    assert max(mol.bas_nctr(i) for i in range(mol.nbas)) > 1


def test_pople_shells_with_common_exponents_equal_pyscf():
    mol = mole(WATER, "6-31g*")
    points = points_near(mol)
    expected = torch.tensor(mol.eval_gto("GTOval_sph", points.numpy()))
    torch.testing.assert_close(gaussian_basis(mol)(points), expected, rtol=0, atol=1e-10)


@given(
    degree=st.integers(0, 4),
    exponent=st.floats(0.01, 10),
    point=st.tuples(*[st.floats(-3, 3)] * 3),
    center=st.tuples(*[st.floats(-1, 1)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_squares_of_a_shell_sum_to_a_sphere(degree, exponent, point, center):
    basis = GaussianBasis([Shell(center, degree, (exponent,), ((1.0,),))])
    squared = math.dist(point, center) ** 2
    expected = (2 * degree + 1) / (4 * math.pi) * squared**degree * math.exp(-2 * exponent * squared)
    total = basis(torch.tensor(point, dtype=torch.float64)).square().sum()
    assert float(total) == pytest.approx(expected, rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("degree", range(5))
def test_second_derivatives_give_the_laplacian_of_a_gaussian(degree):
    exponent = 0.7
    basis = GaussianBasis([Shell((0.1, 0.2, 0.3), degree, (exponent,), ((1.0,),))])
    point = torch.tensor([0.5, -0.4, 0.9], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(partial(gradients_of, basis), point)  # (3, n_ao, 3)
    squared = (point - basis.centers[0]).square().sum()
    factor = 4 * exponent**2 * squared - 2 * exponent * (2 * degree + 3)
    torch.testing.assert_close(jacobian.diagonal(dim1=0, dim2=2).sum(-1), factor * basis(point))


def test_gradient_equals_automatic_differentiation():
    mol = mole(*MOLES["C"])
    basis, points = gaussian_basis(mol), points_near(mol, 20)
    jacobian = torch.func.vmap(torch.func.jacfwd(basis))(points)  # (M, n_ao, 3)
    torch.testing.assert_close(gradients_of(basis, points), jacobian.transpose(1, 2))


@pytest.mark.parametrize("name", MOLES)
def test_nuclei_give_finite_values_and_derivatives(name):
    mol = mole(*MOLES[name])
    basis = gaussian_basis(mol)
    points = torch.tensor(mol.atom_coords(), requires_grad=True)
    expected = torch.tensor(mol.eval_gto("GTOval_sph_deriv1", mol.atom_coords()))
    torch.testing.assert_close(basis(points), expected[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(gradients_of(basis, points), expected[1:].transpose(0, 1), rtol=0, atol=1e-10)
    (slope,) = torch.autograd.grad(gradients_of(basis, points).square().sum() + basis(points).sum(), points)
    assert slope.isfinite().all()


def test_batches_and_chunks_agree_with_single_points():
    mol = mole(*MOLES["LiH"])
    basis = gaussian_basis(mol)
    points = random_positions(4, 5)
    values, gradients = basis(points), gradients_of(basis, points)
    assert values.shape == (4, 5, basis.n_ao)
    assert gradients.shape == (4, 5, 3, basis.n_ao)
    assert basis(points[:, :0]).shape == (4, 0, basis.n_ao)
    torch.testing.assert_close(basis(points[2, 3]), values[2, 3])
    torch.testing.assert_close(gradients_of(basis, points[2, 3]), gradients[2, 3])
    torch.testing.assert_close(torch.cat([basis(chunk) for chunk in points.split(3)]), values)


def test_single_precision_follows_double_precision():
    basis, points = gaussian_basis(mole(*MOLES["C"])), random_positions(50, 4)
    values, gradients = basis(points), gradients_of(basis, points)
    basis.to(torch.float32)
    single = points.float()
    assert basis(single).dtype == gradients_of(basis, single).dtype == torch.float32
    torch.testing.assert_close(basis(single).double(), values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients_of(basis, single).double(), gradients, rtol=1e-5, atol=1e-5)


def test_unsupported_shells_are_refused():
    with pytest.raises(ValueError, match=r"l=5 .*smaller basis"):
        Shell((0.0, 0.0, 0.0), 5, (1.0,), ((1.0,),))
    with pytest.raises(ValueError, match="2 entries for 1 exponents"):
        Shell((0.0, 0.0, 0.0), 0, (1.0,), ((1.0, 2.0),))
    with pytest.raises(ValueError, match="at least one shell"):
        GaussianBasis([])


def test_nuclei_may_be_moved_from_where_the_basis_was_made():
    atom, name, spin = MOLES["N2"]
    mol, moved = mole(atom, name, spin), mole("N 0.3 0.1 -0.2; N -0.5 0.6 1.7", name, spin)
    points, centers = points_near(moved), torch.tensor(moved.atom_coords())
    metric = torch.eye(3, dtype=torch.float64).expand(len(points), 3, 3)
    basis, expected = gaussian_basis(mol), gaussian_basis(moved)
    torch.testing.assert_close(basis(points, centers), expected(points), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(basis(points), expected(points))
    parts = zip(basis.derivatives(points, metric, centers), expected.derivatives(points, metric), strict=True)
    for found, reference in parts:
        torch.testing.assert_close(found, reference, rtol=1e-11, atol=1e-11)
