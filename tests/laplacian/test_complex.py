"""Rules with complex numbers, against the torch_func back end and finite differences of psi itself."""

import logging

import pytest
import torch

from qmcnet.laplacian import (
    ForwardLaplacian,
    forward_laplacian,
    pair_differences,
    signed_log_sum,
    torch_func_laplacian,
    track,
)

DOUBLE = torch.float64
MIXES = torch.randn(2, 3, 8, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
CONSTANT = torch.complex(*torch.randn(2, 3, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2)))


def electron(x):
    return torch.tanh(x)


def dense(x):
    return torch.tanh(x) + torch.sin(x).mean(1, keepdim=True)


def pair(x):
    return torch.sin(pair_differences(x))


def wave(x):
    """Complex numbers of electron support."""
    return torch.complex(torch.cos(x), torch.sin(2 * x))


def orbitals(x):
    """Two complex matrices of four electrons, (B, 2, 4, 4)."""
    real, imag = (torch.sin(dense(x).matmul(mix)) for mix in MIXES)
    decay = torch.exp(-torch.linalg.vector_norm(x, dim=-1, keepdim=True))
    return (torch.complex(real, imag) * decay).unflatten(-1, (2, 4)).movedim(-2, -3)


def log_psi(x):
    phase, log_abs = signed_log_sum(*torch.linalg.slogdet(orbitals(x)))
    return log_abs + 1j * phase.angle()


def psi(x):
    phase, log_abs = signed_log_sum(*torch.linalg.slogdet(orbitals(x)))
    return phase * log_abs.exp()


FUNCTIONS = {
    "parts of one support": lambda x: torch.complex(dense(x), dense(2 * x)),
    "parts of two supports": lambda x: torch.complex(electron(x), dense(x)),
    "parts of two shapes": lambda x: torch.complex(electron(x), dense(x).sum(1, keepdim=True)),
    "constant imaginary part": lambda x: torch.complex(electron(x), torch.ones(3, dtype=DOUBLE)),
    "constant real part": lambda x: torch.complex(torch.ones(3, dtype=DOUBLE), electron(x)),
    "pairs": lambda x: torch.complex(pair(x), pair(x).square()).sum(2),
    "complex dense + real electron": lambda x: wave(x).sum(1, keepdim=True) + electron(x),
    "real dense + complex electron": lambda x: dense(x) + wave(x),
    "real dense + complex dense": lambda x: dense(x) + wave(x).mean(1, keepdim=True),
    "real + constant": lambda x: electron(x) + CONSTANT,
    "constant - real": lambda x: CONSTANT - dense(x),
    "complex + real in place": lambda x: torch.complex(dense(x), dense(2 * x)).add_(dense(x)),
    "complex dense * real electron": lambda x: wave(x).mean(1, keepdim=True) * electron(x),
    "real dense * complex electron": lambda x: dense(x) * wave(x),
    "complex electron * real electron": lambda x: wave(x) * electron(x),
    "real electron * complex electron": lambda x: electron(x) * wave(x),
    "complex pair * real electron": lambda x: torch.complex(pair(x), pair(x).square()) * electron(x)[:, :, None],
    "complex * complex": lambda x: wave(x) * wave(x).mean(1, keepdim=True),
    "complex / real": lambda x: wave(x) / (2 + dense(x)),
    "real / number": lambda x: electron(x) / (1 - 2j),
    "number * real": lambda x: (1 - 2j) * electron(x),
    "negative": lambda x: -wave(x),
    "exp": lambda x: torch.exp(1j * dense(x)),
    "log": lambda x: torch.log(2 + wave(x)),
    "sqrt": lambda x: torch.sqrt(2 + wave(x)),
    "tanh": lambda x: torch.tanh(0.5 * wave(x)),
    "pow": lambda x: wave(x) ** 3,
    "joined with reals": lambda x: torch.cat([wave(x), electron(x)], -1),
    "masked": lambda x: torch.where(CONSTANT.real[0] > 0, wave(x), 0.5),
    "einsum": lambda x: torch.einsum("bif,bjf->bij", wave(x), wave(x)),
    "rearranged": lambda x: wave(x).unsqueeze(-1).movedim(-1, 1)[..., 1:].flatten(-2).squeeze(1),
    "log determinant": lambda x: log_psi(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex_functions_have_their_derivatives(name, positions, assert_tracked):
    assert FUNCTIONS[name](positions).is_complex()
    assert FUNCTIONS[name](track(positions)).dtype == torch.complex128
    assert_tracked(FUNCTIONS[name], positions, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", [forward_laplacian, torch_func_laplacian])
@pytest.mark.parametrize("seed", [0, 1])
def test_derivatives_of_log_psi_are_finite_differences_of_psi(backend, seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(5, 4, 3, dtype=DOUBLE, generator=generator)
    result, step = backend(log_psi, points), 1e-3
    torch.testing.assert_close(result.value.exp(), psi(points), rtol=1e-10, atol=0)
    moves = step * torch.eye(12, dtype=DOUBLE).unflatten(1, (4, 3))
    value = psi(points)[:, None]
    ahead, behind = (
        psi((points[:, None] + sign * moves).flatten(0, 1)).unflatten(0, (5, 12)) / value for sign in (1, -1)
    )
    gradient = (ahead - behind) / (2 * step)
    laplacian = ((ahead + behind - 2) / step**2).sum(-1)
    assert gradient.imag.abs().min() > 1e-4
    torch.testing.assert_close(result.gradient.flatten(1), gradient, rtol=1e-3, atol=1e-3)
    found = result.laplacian + result.gradient.square().sum((-2, -1))
    torch.testing.assert_close(found, laplacian, rtol=1e-3, atol=1e-3)


def test_the_phase_is_a_constant_and_the_logarithm_real_at_the_point(positions):
    phase, log_abs = signed_log_sum(*torch.linalg.slogdet(orbitals(track(positions))))
    expected_phase, expected_log = signed_log_sum(*torch.linalg.slogdet(orbitals(positions)))
    torch.testing.assert_close(phase, expected_phase, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(phase.abs(), torch.ones(3, dtype=DOUBLE), rtol=1e-13, atol=0)
    torch.testing.assert_close(log_abs.value.real, expected_log, rtol=1e-12, atol=1e-12)
    assert (log_abs.value.imag == 0).all()
    assert log_abs.jacobian.imag.abs().max() > 0.1


def test_a_complex_constant_survives_a_mask_over_real_numbers(positions):
    mask = CONSTANT.real[0] > 0
    chosen = torch.where(mask, electron(track(positions)), CONSTANT)
    assert torch.equal(chosen.value, torch.where(mask, electron(positions), CONSTANT))


def test_chunks_of_walkers_and_the_automatic_choice_change_nothing(positions):
    points = positions.repeat(5, 1, 1)
    whole = forward_laplacian(log_psi, points)
    for chunk_size in (None, 4):
        parts = ForwardLaplacian(chunk_size)(log_psi, points)
        torch.testing.assert_close(parts.laplacian, whole.laplacian, rtol=1e-11, atol=1e-11)


def test_single_precision_stays_single(positions):
    def function(x):
        return torch.log(2 + torch.complex(torch.cos(x), torch.sin(x))).sum((-2, -1))

    result, expected = forward_laplacian(function, positions.float()), forward_laplacian(function, positions)
    assert result.laplacian.dtype == torch.complex64
    error = (result.laplacian - expected.laplacian).abs().max()
    assert 0 < error < 1e-4


def test_a_compiled_back_end_does_not_trust_the_compiler_with_complex_numbers(positions, caplog):
    caplog.set_level(logging.WARNING)
    result, expected = (ForwardLaplacian(compile=compiled)(log_psi, positions) for compiled in (True, False))
    torch.testing.assert_close(result.laplacian, expected.laplacian, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(result.gradient, expected.gradient, rtol=1e-11, atol=1e-11)
    assert "the local energy is not compiled" in caplog.text


def test_operations_that_are_not_holomorphic_are_refused(positions):
    with pytest.raises(NotImplementedError, match="vector_norm is tracked for real numbers"):
        torch.linalg.vector_norm(wave(track(positions)), dim=-1)
    with pytest.raises(RuntimeError, match="sgn"):
        wave(track(positions)).abs()
