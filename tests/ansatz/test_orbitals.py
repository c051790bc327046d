import pytest
import torch

from qmcnet.ansatz.features import features
from qmcnet.ansatz.orbitals import Orbitals, sum_of_determinants
from qmcnet.system.molecule import Molecule

NUCLEI = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]], dtype=torch.float64)
B, F, K = 3, 6, 2


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def molecule(n_up, n_down):
    return Molecule(["H"] * 2, NUCLEI.tolist(), charge=2 - n_up - n_down, spin=n_up - n_down)


def head(n_up, n_down, full, envelope="isotropic"):
    orbitals = Orbitals(molecule(n_up, n_down), F, K, full, envelope, complex=False).double()
    with torch.no_grad():
        for seed, linear in enumerate(orbitals.linear):
            linear.weight.copy_(random(*linear.weight.shape, seed=seed))
    return orbitals


@pytest.mark.parametrize(
    ("n_up", "n_down", "full", "shapes"),
    [
        (2, 1, True, [(B, K, 2, 3), (B, K, 1, 3)]),
        (2, 1, False, [(B, K, 2, 2), (B, K, 1, 1)]),
        (3, 0, True, [(B, K, 3, 3)]),
        (3, 0, False, [(B, K, 3, 3)]),
    ],
)
@pytest.mark.parametrize("envelope", ["isotropic", "diagonal"])
def test_shapes(n_up, n_down, full, shapes, envelope):
    matrices = head(n_up, n_down, full, envelope)(
        random(B, 3, F), features(random(B, 3, 3), NUCLEI, molecule(n_up, n_down))
    )
    assert [tuple(matrix.shape) for matrix in matrices] == shapes


def test_orbitals_are_features_times_envelope():
    orbitals, h_one, inputs = (
        head(2, 1, True),
        random(B, 3, F),
        features(random(B, 3, 3, seed=1), NUCLEI, molecule(2, 1)),
    )
    matrices = orbitals(h_one, inputs)
    for spin, (electrons, linear) in enumerate(zip([(0, 1), (2,)], orbitals.linear, strict=True)):
        for row, electron in enumerate(electrons):
            for k in range(K):
                for m in range(3):
                    decay = torch.exp(-inputs.d_en[:, electron]).sum(-1)
                    expected = h_one[:, electron] @ linear.weight[3 * k + m] * decay
                    torch.testing.assert_close(matrices[spin][:, k, row, m], expected)


def test_unknown_envelopes_are_refused():
    with pytest.raises(
        ValueError,
        match=r"envelope='gaussian' must be one of bottleneck, diagonal, full, isotropic, null, sto",
    ):
        head(1, 1, True, "gaussian")


def assert_is_sum(result, total):
    sign, log_abs = (part.squeeze(-1) for part in result)
    torch.testing.assert_close(sign * log_abs.exp(), total, rtol=1e-12, atol=0)
    assert set(sign.tolist()) <= {-1.0, 1.0}


def test_blocks_are_multiplied_and_summed():
    up, down = random(50, K, 3, 3), random(50, K, 2, 2, seed=1)
    assert_is_sum(sum_of_determinants([up, down], 1), (up.det() * down.det()).sum(-1))


def test_full_determinants_stack_the_spins():
    up, down = random(50, K, 3, 5), random(50, K, 2, 5, seed=1)
    assert_is_sum(sum_of_determinants([up, down], 1), torch.cat([up, down], -2).det().sum(-1))


def test_a_single_spin():
    matrix = random(50, K, 3, 3)
    assert_is_sum(sum_of_determinants([matrix], 1), matrix.det().sum(-1))


def test_one_electron_of_each_spin():
    up, down = random(50, K, 1, 2), random(50, K, 1, 2, seed=1)
    expected = (up[:, :, 0, 0] * down[:, :, 0, 1] - up[:, :, 0, 1] * down[:, :, 0, 0]).sum(-1)
    assert_is_sum(sum_of_determinants([up, down], 1), expected)
