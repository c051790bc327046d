import itertools
import math

import pytest
import torch

from qmcnet.ansatz.envelopes import (
    ENVELOPES,
    BottleneckEnvelope,
    DiagonalEnvelope,
    FullEnvelope,
    IsotropicEnvelope,
    NullEnvelope,
    occupied_shells,
    slater_envelope,
)
from qmcnet.system.molecule import Molecule

PAIR = Molecule.diatomic("H", "H", 1.4, "bohr")
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
    envelope = randomized(IsotropicEnvelope(PAIR, M))
    r_en, d_en = vectors
    for m in range(M):
        expected = sum(envelope.weight[a, m] * torch.exp(-envelope.exponent[a, m] * d_en[..., a]) for a in range(A))
        torch.testing.assert_close(envelope(r_en, d_en)[..., m], expected)


def test_diagonal_envelope_is_a_sum_of_exponentials(vectors):
    envelope = randomized(DiagonalEnvelope(PAIR, M))
    r_en, d_en = vectors
    for m in range(M):
        scaled = [(r_en[..., a, :] * envelope.exponent[a, :, m]).norm(dim=-1) for a in range(A)]
        expected = sum(envelope.weight[a, m] * torch.exp(-scaled[a]) for a in range(A))
        torch.testing.assert_close(envelope(r_en, d_en)[..., m], expected)


def test_equal_exponents_make_the_envelopes_equal(vectors):
    isotropic, diagonal = randomized(IsotropicEnvelope(PAIR, M)), DiagonalEnvelope(PAIR, M).double()
    with torch.no_grad():
        isotropic.exponent.abs_()
        diagonal.weight.copy_(isotropic.weight)
        diagonal.exponent.copy_(isotropic.exponent[:, None].expand_as(diagonal.exponent))
    torch.testing.assert_close(isotropic(*vectors), diagonal(*vectors))


def test_full_envelope_is_a_sum_of_exponentials(vectors):
    envelope = randomized(FullEnvelope(PAIR, M)).requires_grad_(False)
    r_en, d_en = vectors
    expected = torch.zeros(B, N, M, dtype=torch.float64)
    for b, n, a, m in itertools.product(range(B), range(N), range(A), range(M)):
        scaled = [sum(envelope.matrix[a, i, j, m] * r_en[b, n, a, j] for j in range(3)) for i in range(3)]
        expected[b, n, m] += envelope.weight[a, m] * math.exp(-math.sqrt(sum(x * x for x in scaled)))
    torch.testing.assert_close(envelope(r_en, d_en), expected)


def test_full_envelopes_with_diagonal_matrices_are_diagonal_ones(vectors):
    diagonal, full = randomized(DiagonalEnvelope(PAIR, M)), FullEnvelope(PAIR, M).double()
    with torch.no_grad():
        full.weight.copy_(diagonal.weight)
        full.matrix.copy_(torch.diag_embed(diagonal.exponent.movedim(1, -1)).movedim(1, -1))
    torch.testing.assert_close(full(*vectors), diagonal(*vectors))
    with torch.no_grad():
        full.matrix[:, 0, 1] += 0.5
    assert not torch.allclose(full(*vectors), diagonal(*vectors), rtol=1e-2)


@pytest.mark.parametrize("size", [1, 3, 32])
def test_bottleneck_envelope_mixes_shared_exponentials(size, vectors):
    envelope = randomized(BottleneckEnvelope(PAIR, M, size=size))
    r_en, d_en = vectors
    weight, exponent = envelope.shared.weight, envelope.shared.exponent
    assert weight.shape == exponent.shape == (A, size)
    for m in range(M):
        expected = sum(
            envelope.mixture[k, m] * weight[a, k] * torch.exp(-exponent[a, k] * d_en[..., a])
            for k in range(size)
            for a in range(A)
        )
        torch.testing.assert_close(envelope(r_en, d_en)[..., m], expected)


def test_the_bottleneck_saves_exponents_and_keeps_them_apart():
    envelope = BottleneckEnvelope(PAIR, 500)
    assert sum(parameter.numel() for parameter in envelope.parameters()) == 32 * 500 + 2 * 32 * A
    assert envelope.shared.exponent[0].unique().numel() == 32


def test_the_null_envelope_is_one(vectors):
    envelope = NullEnvelope(PAIR, M)
    assert envelope(*vectors).item() == 1
    assert envelope(*vectors).dtype == torch.float64
    assert not list(envelope.parameters())


@pytest.mark.parametrize("name", ["isotropic", "diagonal", "full"])
def test_envelopes_start_at_unit_exponents(name, vectors):
    r_en, d_en = vectors
    expected = torch.exp(-d_en).sum(-1, keepdim=True).expand(B, N, M)
    torch.testing.assert_close(ENVELOPES[name](PAIR, M).double()(r_en, d_en), expected)


def test_bottleneck_envelopes_start_as_the_mean_over_exponents_about_one(vectors):
    r_en, d_en = vectors
    exponents = [0.5 + 1.5 * k / 31 for k in range(32)]
    expected = sum(torch.exp(-exponent * d_en).sum(-1, keepdim=True) for exponent in exponents) / 32
    torch.testing.assert_close(
        BottleneckEnvelope(PAIR, M).double()(r_en, d_en), expected.expand(B, N, M), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("name", sorted(set(ENVELOPES) - {"null"}))
def test_every_determinant_has_envelopes_of_its_own(name, vectors):
    many, one = ENVELOPES[name](PAIR, M, 3), ENVELOPES[name](PAIR, 3 * M, 1)
    assert many(*(vector.float() for vector in vectors)).shape == (B, N, 3 * M)
    if name != "sto":
        shapes = [[parameter.shape for parameter in envelope.parameters()] for envelope in (many, one)]
        assert shapes[0] == shapes[1]


LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
HYDROXIDE = Molecule.diatomic("O", "H", 1.8, "bohr", charge=-1)


@pytest.mark.parametrize(
    ("molecule", "n_orbitals", "expected"),
    [
        (Molecule.atom("Be"), 4, [(3.7, "Be"), (0.975, "Be")] * 2),
        (Molecule.atom("Be"), 2, [(3.7, "Be"), (0.975, "Be")]),
        (LIH, 4, [(2.7, "Li"), (1.0, "H")] * 2),
        (LIH, 2, [(2.7, "Li"), (1.0, "H")]),
        (Molecule.diatomic("N", "N", 2.068, "bohr"), 14, ([(6.7, "N")] * 2 + [(1.95, "N")] * 5) * 2),
        (Molecule.diatomic("N", "N", 2.068, "bohr"), 7, [(6.7, "N")] * 2 + [(1.95, "N")] * 5),
        (Molecule.atom("N"), 5, [(6.7, "N")] + [(1.95, "N")] * 4),  # one more than half of the electrons
        (Molecule.atom("Li", charge=1), 2, [(2.7, "Li")] * 2),
        (HYDROXIDE, 10, [(7.7, "O"), *[(2.275, "O")] * 3, (1.0, "H")] * 2),
        (Molecule.atom("B"), 5, [(4.7, "B"), (1.3, "B"), (1.3, "B"), (4.7, "B"), (1.3, "B")]),
        (Molecule.atom("He", spin=2), 2, [(1.7, "He")] * 2),
    ],
    ids=[
        "Be",
        "Be up",
        "LiH",
        "LiH up",
        "N2",
        "N2 up",
        "N up",
        "Li+",
        "OH-",
        "B",
        "He triplet",
    ],
)
def test_orbitals_are_dealt_to_the_shells_of_the_atoms(molecule, n_orbitals, expected):
    dealt = occupied_shells(molecule, n_orbitals)
    assert [symbol for _, symbol in dealt] == [symbol for _, symbol in expected]
    assert [zeta for zeta, _ in dealt] == pytest.approx([zeta for zeta, _ in expected], rel=1e-12)


def test_slater_envelopes_start_as_the_exponentials_of_atomic_shells(vectors):
    r_en, d_en = vectors
    values = slater_envelope(LIH, 4, 3).double()(r_en, d_en)
    expected = [(-2.7 * d_en[..., 0]).exp(), (-1.0 * d_en[..., 1]).exp()] * 2
    torch.testing.assert_close(values, torch.stack(expected * 3, -1), rtol=1e-6, atol=0)


def test_equal_nuclei_share_their_shells(vectors):
    r_en, d_en = vectors
    values = slater_envelope(Molecule.diatomic("N", "N", 2.068, "bohr"), 7).double()(r_en, d_en)
    expected = [(-zeta * d_en).exp().sum(-1) for zeta in [6.7] * 2 + [1.95] * 5]
    torch.testing.assert_close(values, torch.stack(expected, -1), rtol=1e-6, atol=0)


def test_other_elements_wait_with_the_exponent_of_their_outermost_shell():
    envelope = slater_envelope(LIH, 4, 2)
    expected = torch.tensor([[2.7, 0.65] * 2, [1.0, 1.0] * 2])
    torch.testing.assert_close(envelope.exponent.detach(), expected.repeat(1, 2))
    assert envelope.weight.tolist() == [[1, 0] * 4, [0, 1] * 4]


def test_every_envelope_can_be_named():
    assert sorted(ENVELOPES) == ["bottleneck", "diagonal", "full", "isotropic", "null", "sto"]
