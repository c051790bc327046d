import math

import pytest
import torch

from qmcnet.laplacian import determinant, scaled_exp, signed_log_sum, track
from qmcnet.laplacian.determinant import factorized

DOUBLE = torch.float64


def orbitals(x):
    """Return two matrices of Gaussian orbitals of four electrons, (B, 2, 4, 4)."""
    centres = torch.randn(8, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
    exponents = torch.exp(-0.5 * (x[:, :, None] - centres).square().sum(-1))  # (B, N, 8)
    backflow = torch.tanh(x).mean(1, keepdim=True).sum(-1, keepdim=True)
    return (exponents * (1 + 0.3 * backflow)).unflatten(-1, (2, 4)).movedim(-2, -3)


@pytest.mark.parametrize("slogdet", [torch.linalg.slogdet, torch.slogdet, lambda m: m.slogdet()])
def test_log_determinants_have_their_derivatives(slogdet, positions, assert_tracked):
    assert_tracked(lambda x: slogdet(orbitals(x))[1], positions)


def test_determinants_of_spin_blocks(positions, assert_tracked):
    for spin in (slice(0, 1), slice(1, 4), slice(0, 3)):
        assert_tracked(lambda x, s=spin: torch.linalg.slogdet(torch.tanh(x)[:, s, : s.stop - s.start])[1], positions)


def test_signs_are_constants(positions):
    sign, log_abs = torch.linalg.slogdet(orbitals(track(positions)))
    expected_sign, expected_log = torch.linalg.slogdet(orbitals(positions))
    assert torch.equal(sign, expected_sign)
    torch.testing.assert_close(log_abs.value, expected_log)


def test_a_singular_matrix_spoils_no_other_walker(positions):
    coincident = positions.clone()
    coincident[1, 0] = coincident[1, 1]
    good = torch.linalg.slogdet(orbitals(track(positions)))[1]
    mixed = torch.linalg.slogdet(orbitals(track(coincident)))[1]
    for walker in (0, 2):
        torch.testing.assert_close(mixed.jacobian[:, walker], good.jacobian[:, walker])
        torch.testing.assert_close(mixed.laplacian[walker], good.laplacian[walker])


def test_signed_sums_have_their_derivatives(positions, assert_tracked):
    signs = torch.tensor([1.0, -1.0], dtype=DOUBLE)
    assert_tracked(lambda x: signed_log_sum(signs, x.square().sum(-1)[:, :2] - 3)[1], positions)
    assert_tracked(lambda x: signed_log_sum(*torch.linalg.slogdet(orbitals(x)))[1], positions)


@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_signed_sum_equals_the_naive_sum(dtype):
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(50, 5, dtype=DOUBLE, generator=generator)
    signs = torch.randn(50, 5, dtype=dtype, generator=generator).sgn()
    sign, log_abs = signed_log_sum(signs, logs)
    total = (signs * logs.exp()).sum(-1)
    assert log_abs.dtype == DOUBLE
    assert dtype.is_complex or {-1.0, 1.0} == set(sign.tolist())
    torch.testing.assert_close(sign * log_abs.exp(), total)


@pytest.mark.parametrize("shift", [-1e4, -800.0, 800.0, 1e4])
def test_signed_sum_of_huge_and_tiny_numbers(shift):
    logs = torch.tensor([[0.3, -0.4, 0.1]], dtype=DOUBLE)
    signs = torch.tensor([[1.0, -1.0, -1.0]], dtype=DOUBLE)
    sign, log_abs = signed_log_sum(signs, logs + shift)
    naive = math.exp(0.3) - math.exp(-0.4) - math.exp(0.1)
    assert sign.item() == math.copysign(1, naive)
    # The shift is rounded to 1e-16 of its own size.
    assert log_abs.item() - shift == pytest.approx(math.log(abs(naive)), abs=1e-11)


def test_signed_sum_of_very_different_numbers():
    signs = torch.tensor([[-1.0, 1.0]], dtype=DOUBLE)
    sign, log_abs = signed_log_sum(signs, torch.tensor([[5000.0, -5000.0]], dtype=DOUBLE))
    assert (sign.item(), log_abs.item()) == (-1, 5000)
    sign, log_abs = signed_log_sum(signs, torch.tensor([[-math.inf, -2.0]], dtype=DOUBLE))
    assert (sign.item(), log_abs.item()) == (1, -2)


def test_signed_sum_of_zeros_is_zero():
    sign, log_abs = signed_log_sum(torch.zeros(1, 3, dtype=DOUBLE), torch.full((1, 3), -math.inf, dtype=DOUBLE))
    assert (sign.item(), log_abs.item()) == (0, -math.inf)


def test_signed_sum_that_cancels_is_zero():
    sign, log_abs = signed_log_sum(torch.tensor([[1.0, -1.0]], dtype=DOUBLE), torch.full((1, 2), 700.0, dtype=DOUBLE))
    assert (sign.item(), log_abs.item()) == (0, -math.inf)


@pytest.mark.parametrize("shift", [-2000.0, 0.0, 2000.0])
def test_signed_sum_has_finite_gradients(shift):
    signs = torch.tensor([[1.0, -1.0, 1.0]], dtype=DOUBLE)
    logs = torch.tensor([[0.2, -0.5, -3000.0]], dtype=DOUBLE)
    shifted = (logs + shift).requires_grad_()
    signed_log_sum(signs, shifted)[1].backward()
    terms = signs * logs.exp()
    torch.testing.assert_close(shifted.grad, terms / terms.sum(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.complex128])
def test_one_factorisation_gives_sign_logarithm_and_inverse(n, dtype):
    matrices = torch.randn(50, 2, n, n, dtype=dtype, generator=torch.Generator().manual_seed(n))
    sign, log_abs, inverse = factorized(matrices)
    expected_sign, expected_log = torch.linalg.slogdet(matrices)
    if dtype == DOUBLE:
        assert set(sign.unique().tolist()) == {-1.0, 1.0}
        assert torch.equal(sign, expected_sign)
    torch.testing.assert_close(sign, expected_sign, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_abs, expected_log, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(inverse, torch.linalg.inv(matrices), rtol=1e-8, atol=1e-8)


def test_a_singular_matrix_has_no_sign():
    sign, log_abs, _ = factorized(torch.ones(1, 2, 2, dtype=DOUBLE))
    assert sign.item() == 0
    assert log_abs.item() == -math.inf


@pytest.mark.parametrize("cached", [1, 40, 10**6])
def test_groups_of_matrices_do_not_matter(cached, monkeypatch):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(5, 7, 3, 3, dtype=DOUBLE, generator=generator)
    inverse = torch.randn(5, 3, 3, dtype=DOUBLE, generator=generator)
    monkeypatch.setattr(determinant, "CACHED", cached)
    traces, squares = determinant.log_derivatives(rows, inverse)
    product = rows @ inverse[:, None]
    torch.testing.assert_close(traces, product.diagonal(dim1=-2, dim2=-1).sum(-1))
    expected = (product[:, :-1] @ product[:, :-1]).diagonal(dim1=-2, dim2=-1).sum((-2, -1))
    torch.testing.assert_close(squares, expected)


def signed_logs(shape=(6, 3)):
    generator = torch.Generator().manual_seed(8)
    return (torch.randn(shape, dtype=DOUBLE, generator=generator) for _ in range(2))


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_exponentials_are_divided_by_the_largest(shift):
    logs, signs = signed_logs()
    signs = signs.sign()
    values, found = scaled_exp(signs, logs + shift)
    assert values.shape == (6, 3)
    assert found.shape == (6,)
    torch.testing.assert_close(found, logs.amax(-1) + shift, rtol=1e-14, atol=0)
    assert values.abs().amax(-1).tolist() == [1.0] * 6
    torch.testing.assert_close(values * (found - shift).exp()[:, None], signs * logs.exp(), rtol=1e-11, atol=1e-11)


def test_an_exponential_too_small_for_its_row_is_zero():
    values, shift = scaled_exp(torch.tensor([[1.0, -1.0]], dtype=DOUBLE), torch.tensor([[900.0, -900.0]], dtype=DOUBLE))
    assert values.tolist() == [[1.0, 0.0]]
    assert shift.tolist() == [900.0]


def test_scaled_exponentials_have_their_gradients_and_the_shift_has_none():
    logs, signs = signed_logs()
    logs.requires_grad_()
    values, shift = scaled_exp(signs.sign(), logs)
    assert not shift.requires_grad
    (gradient,) = torch.autograd.grad(values.sum(), logs)
    torch.testing.assert_close(gradient, values.detach())


def test_scaled_exponentials_have_their_derivatives(positions, assert_tracked):
    signs = torch.tensor([1.0, -1.0], dtype=DOUBLE)
    assert_tracked(lambda x: scaled_exp(signs, torch.linalg.slogdet(orbitals(x))[1])[0], positions)
