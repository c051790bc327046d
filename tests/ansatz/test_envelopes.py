import pytest
import torch

from qmcnet.ansatz.envelopes import ENVELOPES, DiagonalEnvelope, IsotropicEnvelope

B, N, A, M = 4, 3, 2, 5


@pytest.fixture
def vectors():
    r_en = torch.randn(B, N, A, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return r_en, r_en.norm(dim=-1)


def randomized(envelope):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in envelope.double().parameters():
            parameter.normal_(generator=generator)
    return envelope


def test_isotropic_envelope_is_a_sum_of_exponentials(vectors):
    envelope = randomized(IsotropicEnvelope(A, M))
    r_en, d_en = vectors
    for m in range(M):
        expected = sum(envelope.weight[a, m] * torch.exp(-envelope.exponent[a, m] * d_en[..., a]) for a in range(A))
        torch.testing.assert_close(envelope(r_en, d_en)[..., m], expected)


def test_diagonal_envelope_is_a_sum_of_exponentials(vectors):
    envelope = randomized(DiagonalEnvelope(A, M))
    r_en, d_en = vectors
    for m in range(M):
        scaled = [(r_en[..., a, :] * envelope.exponent[a, :, m]).norm(dim=-1) for a in range(A)]
        expected = sum(envelope.weight[a, m] * torch.exp(-scaled[a]) for a in range(A))
        torch.testing.assert_close(envelope(r_en, d_en)[..., m], expected)


def test_equal_exponents_make_the_envelopes_equal(vectors):
    isotropic, diagonal = randomized(IsotropicEnvelope(A, M)), DiagonalEnvelope(A, M).double()
    with torch.no_grad():
        isotropic.exponent.abs_()
        diagonal.weight.copy_(isotropic.weight)
        diagonal.exponent.copy_(isotropic.exponent[:, None].expand_as(diagonal.exponent))
    torch.testing.assert_close(isotropic(*vectors), diagonal(*vectors))


@pytest.mark.parametrize("name", sorted(ENVELOPES))
def test_envelopes_start_at_unit_exponents(name, vectors):
    r_en, d_en = vectors
    expected = torch.exp(-d_en).sum(-1, keepdim=True).expand(B, N, M)
    torch.testing.assert_close(ENVELOPES[name](A, M).double()(r_en, d_en), expected)
