"""From averaged matrices to eigenstates, and what is said where they are hard to read."""

import numpy as np
import pytest

from qmcnet.statistics.eigenstates import eigenstates, in_eigenstates, overlap_of_states, resolved, swapped, warnings_of

ENERGIES = np.array([-2.9, -2.1, -2.0, -1.5])
S = len(ENERGIES)
APART = np.ones(S - 1, dtype=bool)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def frame(rng, norms=(1.0,) * S):
    """Draw linearly independent states that are not orthogonal, as columns."""
    return (np.eye(S) + 0.3 * rng.normal(size=(S, S))) * np.array(norms)


def in_frame(operator, states):
    return np.linalg.inv(states) @ operator @ states


def test_energies_are_sorted_and_belong_to_their_vectors(rng):
    states = frame(rng)
    matrix = in_frame(np.diag(ENERGIES[[2, 0, 3, 1]]), states)
    energies, vectors = eigenstates(matrix)
    np.testing.assert_allclose(energies, ENERGIES, atol=1e-12)
    np.testing.assert_allclose(matrix @ vectors, vectors * energies, atol=1e-12)


def test_complex_pairs_give_their_real_part():
    matrix = np.diag([-1.0, -3.0, -1.0])
    matrix[0, 2], matrix[2, 0] = 0.2, -0.2
    energies, _ = eigenstates(matrix)
    assert energies.dtype == np.float64
    np.testing.assert_allclose(energies, [-3, -1, -1], atol=1e-12)
    (sentence,) = [text for text in warnings_of(energies, np.full(2, 1e-9), matrix) if "complex" in text]
    assert "real parts" in sentence


def test_matrices_turn_into_the_basis_of_the_eigenstates(rng):
    states, operators = frame(rng, (1.0, 50.0, 1e-3, 2.0)), rng.normal(size=(3, S, S))
    means = {"energy": in_frame(np.diag(ENERGIES), states)[None], "dipole": in_frame(operators, states)}
    found = in_eigenstates(means)
    np.testing.assert_allclose(found["energy"], ENERGIES, atol=1e-10)
    diagonals = np.diagonal(operators, axis1=1, axis2=2)
    np.testing.assert_allclose(np.diagonal(found["dipole"], axis1=1, axis2=2), diagonals, atol=1e-9)
    products = operators * operators.transpose(0, 2, 1)
    np.testing.assert_allclose(found["dipole"] * found["dipole"].transpose(0, 2, 1), products, atol=1e-9)
    assert set(found) == {"energy", "dipole"}


def test_a_plain_spectrum_has_no_warning(rng):
    matrix = in_frame(np.diag(ENERGIES), frame(rng))
    assert warnings_of(ENERGIES, np.full(S - 1, 0.01), matrix) == []


@pytest.mark.parametrize(("error", "warned"), [(0.033, False), (0.034, True), (1.0, True), (np.nan, True)])
def test_a_gap_within_three_errors_is_degenerate(error, warned, rng):
    matrix = in_frame(np.diag(ENERGIES), frame(rng))
    sentences = warnings_of(ENERGIES, np.array([0.01, error, 0.01]), matrix)
    assert len(sentences) == warned
    if warned:
        told = "mHa apart, with an error that is not known" if np.isnan(error) else f"+- {1e3 * error:.2f} mHa apart"
        assert f"states 1 and 2 are degenerate within error: 100.00 {told};" in sentences[0]


def test_a_pair_with_one_real_part_is_no_distance_apart(rng):
    energies = np.array([ENERGIES[0], ENERGIES[0], *ENERGIES[2:]])
    (sentence,) = warnings_of(energies, np.array([0.0, 0.01, 0.01]), in_frame(np.diag(energies), frame(rng)))
    assert "states 0 and 1 are degenerate within error; their energies" in sentence


def test_a_single_state_has_no_warning():
    assert warnings_of(np.array([-0.5]), np.empty(0), np.array([[-0.5]])) == []


def halves(rng, order, norms=(1.0,) * S, noise=0.0):
    """Draw the matrices of two halves, where energies belong to the states in another order in the second."""
    states = frame(rng, norms)
    matrices = [np.diag(ENERGIES), np.diag(ENERGIES[list(order)])]
    noisy = [matrix + noise * rng.normal(size=(S, S)) for matrix in matrices]
    return tuple({"energy": in_frame(matrix, states)[None]} for matrix in noisy)


@pytest.mark.parametrize("norms", [(1.0,) * S, (1e3, 1.0, 1.0, 1.0), (1.0, 1e3, 1e-3, 1.0)])
@pytest.mark.parametrize("order", [(1, 0, 2, 3), (0, 1, 3, 2), (1, 2, 0, 3), (3, 2, 1, 0)])
def test_states_that_change_places_are_found(order, norms, rng):
    first, second = halves(rng, order, norms)
    (sentence,) = swapped((first, second), APART)
    # The state of lowest energy in the second half is where the lowest energy went, and so on.
    expected = ", ".join(str(order.index(i)) for i in range(S))
    assert f"those of its second half were {expected} in its first" in sentence


@pytest.mark.parametrize("norms", [(1.0,) * S, (1e3, 1.0, 1.0, 1.0), (1.0, 1e3, 1e-3, 1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_change_of_places(norms, seed):
    rng = np.random.default_rng(seed)
    assert swapped(halves(rng, range(S), norms, noise=0.01), APART) == []


@pytest.mark.parametrize("seed", range(5))
def test_noise_mixes_degenerate_states_without_a_word(seed):
    rng = np.random.default_rng(seed)
    level = np.diag([-2.9, -2.0, -2.0, -1.5])
    matrices = [in_frame(level + 1e-6 * rng.normal(size=(S, S)), np.eye(S)) for _ in range(2)]
    halves = tuple({"energy": matrix[None]} for matrix in matrices)
    assert swapped(halves, np.array([True, False, True])) == []


def test_a_state_that_leaves_its_level_is_told_though_others_are_degenerate(rng):
    assert swapped(halves(rng, (0, 2, 1, 3)), np.array([True, False, True])) == []
    assert len(swapped(halves(rng, (2, 1, 0, 3)), np.array([True, False, True]))) == 1


def test_states_are_apart_by_three_errors():
    assert resolved(ENERGIES, np.array([0.266, 0.033, np.nan])).tolist() == [True, True, False]
    assert resolved(ENERGIES, np.array([0.267, 0.034, 0.0])).tolist() == [False, False, True]


def test_without_halves_there_is_nothing_to_say():
    assert swapped(None, APART) == []


@pytest.fixture(scope="module")
def sampled():
    """Three functions at points from psi^T S^-1 psi, one in each of equal shares of it, with their overlaps."""
    x = np.linspace(-8, 8, 4001)

    def states(x):
        columns = [np.exp(-0.5 * x**2), (x + 0.5) * np.exp(-0.4 * x**2), np.exp(-0.3 * (x - 1) ** 2)]
        return np.stack(columns, -1) * np.array([1.0, 30.0, 0.02])

    psi = states(x)
    overlap = psi.T @ psi
    density = (psi @ np.linalg.inv(overlap) * psi).sum(-1)
    cumulative = (np.cumsum(density) - density / 2) / density.sum()
    points = np.interp((np.arange(20_000) + 0.5) / 20_000, cumulative, x)
    return states(points), overlap


def moduli(overlap):
    norm = np.sqrt(np.diagonal(overlap).real)
    return np.abs(overlap) / np.outer(norm, norm)


def test_overlaps_come_from_points_of_the_total_ansatz(sampled):
    values, overlap = sampled
    expected = moduli(overlap)
    assert 0.1 < expected[0, 1] < expected[0, 2] < 0.95
    np.testing.assert_allclose(overlap_of_states(values, np.eye(3)), expected, atol=1e-3)
    vectors = np.random.default_rng(1).normal(size=(3, 3)) / np.array([[1.0], [30.0], [0.02]])
    expected = moduli(vectors.T @ overlap @ vectors)
    np.testing.assert_allclose(overlap_of_states(values, vectors), expected, atol=1e-3)


def test_phases_of_states_do_not_change_moduli_of_overlaps(sampled):
    values, overlap = sampled
    phases = np.diag(np.exp(1j * np.array([0.3, 1.4, -2.0])))
    np.testing.assert_allclose(overlap_of_states(values, phases), moduli(overlap), atol=1e-3)


def test_rows_may_be_scaled_at_will(sampled):
    values = sampled[0][::10]
    scale = np.random.default_rng(3).uniform(-5, 5, size=(len(values), 1))
    expected = overlap_of_states(values, np.eye(3))
    np.testing.assert_allclose(overlap_of_states(scale * values, np.eye(3)), expected, atol=1e-10)
    np.testing.assert_allclose(np.diagonal(expected), 1)
    np.testing.assert_allclose(expected, expected.T, atol=1e-12)
