import math
from dataclasses import replace

import pytest
import torch

from qmcnet import FermiNet, Molecule, NaturalStates
from qmcnet.optimizers.gradient import centred
from qmcnet.optimizers.least_squares import (
    ParameterSystem,
    WalkerSystem,
    centre,
    normal_equations,
    right_hand_side,
    solve_definite,
)
from qmcnet.optimizers.operator import ScoreOperator
from qmcnet.optimizers.scores import score_operator

N_PARAMETERS = 17  # of the perceptron
SYSTEMS = [WalkerSystem, ParameterSystem]


def dense_solution(scores, residual, damping):
    """Minimise |O v - e|^2 + damping |v|^2 as ordinary least squares, by an orthogonal factorisation."""
    count, width = scores.shape
    matrix = torch.cat([(scores - scores.mean(0)) / math.sqrt(count), math.sqrt(damping) * torch.eye(width).double()])
    right = torch.cat([residual, torch.zeros(width).double()])
    return torch.linalg.lstsq(matrix, right[:, None], driver="gelsd").solution[:, 0]


@pytest.fixture
def batch(perceptron, walkers, autograd_scores):
    """Scores as an operator and as a matrix, walkers that count, and a centred right-hand side."""

    def draw(size, lost=()):
        ansatz, positions = perceptron(), walkers(size, 2)
        finite = torch.ones(size, dtype=torch.bool)
        finite[list(lost)] = False
        residual = centred(walkers(size, 1, 8).sum((1, 2)), finite) / finite.sum().sqrt()
        return score_operator(ansatz, positions, 100), autograd_scores(ansatz, positions), finite, residual

    return draw


@pytest.mark.parametrize("damping", [1e-4, 1e-2, 10.0])
@pytest.mark.parametrize("lost", [(), (0, 4)], ids=["all", "lost"])
@pytest.mark.parametrize("size", [6, 16, 17, 18, 60])
def test_both_systems_minimise_the_damped_squares(size, lost, damping, batch):
    operator, scores, finite, residual = batch(size, lost)
    expected = dense_solution(scores[finite], residual[finite], damping)
    for kind in SYSTEMS:
        direction, lifted = kind(operator, finite).solve(residual, damping)
        assert (direction - expected).norm() < 1e-8 * expected.norm()
        assert not lifted


@pytest.mark.parametrize("lost", [(), (0, 4)], ids=["all", "lost"])
@pytest.mark.parametrize("size", [6, 60])
def test_both_systems_measure_the_gradient(size, lost, batch):
    operator, scores, finite, residual = batch(size, lost)
    kept = scores[finite]
    expected = ((kept - kept.mean(0)).T @ residual[finite]).norm().item() / math.sqrt(len(kept))
    for kind in SYSTEMS:
        assert kind(operator, finite).gradient_norm(residual).item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("more", "kind"), [(-1, WalkerSystem), (0, WalkerSystem), (1, ParameterSystem)])
def test_the_smaller_system_is_chosen(more, kind, batch):
    operator, scores, finite, _ = batch(N_PARAMETERS + more)
    assert scores.shape[1] == operator.n_parameters == N_PARAMETERS
    assert type(normal_equations(operator, finite)) is kind


@pytest.mark.parametrize("kind", SYSTEMS)
def test_lost_walkers_do_not_enter_by_what_stands_at_them(kind, batch):
    operator, _, finite, residual = batch(12, (2, 7))
    expected, _ = kind(operator, finite).solve(residual, 1e-2)
    for layer in operator.layers:
        layer.signals[[2, 7]] *= 1e3
    direction, _ = kind(operator, finite).solve(residual, 1e-2)
    assert (direction - expected).norm() < 1e-9 * expected.norm()


def symmetric(*values):
    """A matrix with these eigenvalues."""
    size = len(values)
    vectors = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(1)).double())[0]
    return vectors * torch.tensor(values, dtype=torch.float64) @ vectors.mT


RIGHT = torch.arange(1.0, 6.0).double()


@pytest.fixture
def factorised(monkeypatch):
    """Matrices that were factorised."""
    matrices, exact = [], torch.linalg.cholesky_ex

    def keep(matrix):
        matrices.append(matrix.clone())
        return exact(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", keep)
    return matrices


def test_a_definite_system_is_solved_by_one_factorisation(factorised):
    good = symmetric(3.0, 2.0, 1.0, 0.5, 0.1)
    solution, indefinite = solve_definite(good.clone(), RIGHT, 1e-3)
    torch.testing.assert_close(good @ solution, RIGHT, rtol=1e-12, atol=1e-12)
    assert not indefinite
    assert [torch.equal(matrix, good) for matrix in factorised] == [True]


def test_a_matrix_made_indefinite_by_rounding_is_damped_at_that_level_and_says_so():
    bad = symmetric(3.0, 2.0, 1.0, 0.5, -1e-3)
    solution, indefinite = solve_definite(bad.clone(), RIGHT, 1e-3)
    damped = bad + 1e-3 * bad.trace() * torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(damped @ solution, RIGHT, rtol=1e-11, atol=1e-11)
    assert indefinite


@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf])
def test_a_matrix_that_is_worse_than_rounded_has_no_solution(value):
    solution, indefinite = solve_definite(symmetric(3.0, 2.0, 1.0, 0.5, value), RIGHT, 1e-6)
    assert solution.isnan().all()
    assert indefinite


def test_off_a_cpu_nobody_waits_for_the_answer(factorised):
    solution, indefinite = solve_definite(torch.empty(5, 5, device="meta"), torch.empty(5, device="meta"), 1e-3)
    assert solution.shape == (5,)
    assert indefinite.is_meta
    assert len(factorised) == 1


@pytest.mark.parametrize("lost", [(), (0, 4)], ids=["all", "lost"])
@pytest.mark.parametrize("n_functions", [1, 3])
def test_both_sides_are_centred_in_place(lost, n_functions):
    gram = torch.randn(21, 21, generator=torch.Generator().manual_seed(0)).double()
    gram, finite = gram[: 7 * n_functions, : 7 * n_functions].clone(), torch.ones(7, dtype=torch.bool)
    finite[list(lost)] = False
    expected = centred(centred(gram, finite).mT, finite).mT
    for index in lost:
        gram[index * n_functions] = math.nan
        gram[:, index * n_functions] = math.inf
    centre(gram, finite)
    torch.testing.assert_close(gram, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", SYSTEMS)
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e200])
@pytest.mark.parametrize("part", ["inputs", "signals"])
def test_a_walker_whose_scores_are_not_finite_is_lost(part, value, kind, batch):
    operator, _, all_finite, residual = batch(12)
    without, finite = operator.layers[0], all_finite.clone()
    finite[5] = False
    expected, _ = kind(operator, finite).solve(right_hand_side(residual, all_finite, finite), 1e-2)
    gradient = kind(operator, finite).gradient_norm(right_hand_side(residual, all_finite, finite))
    broken = replace(without, **{part: getattr(without, part).clone()})
    getattr(broken, part)[5, 0, 0] = value
    system = kind(ScoreOperator([broken, *operator.layers[1:]], operator.n_parameters, operator.count), all_finite)
    assert torch.equal(system.finite, finite)
    direction, indefinite = system.solve(residual, 1e-2)
    assert not indefinite
    assert (direction - expected).norm() < 1e-9 * expected.norm()
    assert system.gradient_norm(residual).item() == pytest.approx(gradient.item(), rel=1e-9)


def float32_batch(size, hidden):
    torch.manual_seed(0)
    network = FermiNet(Molecule.atom("He"), n_layers=1, hidden_one=hidden, hidden_two=2, n_determinants=1)
    generator = torch.Generator().manual_seed(0)
    positions, finite = torch.randn(size, 2, 3, generator=generator), torch.ones(size, dtype=torch.bool)
    residual = centred(torch.randn(size, generator=generator, dtype=torch.float64), finite) / math.sqrt(size)
    return score_operator(NaturalStates(network), positions, 100), finite, residual


@pytest.mark.parametrize(("kind", "size"), [(WalkerSystem, 300), (ParameterSystem, 20)])
def test_a_system_that_rounding_made_indefinite_says_so_and_stays_finite(kind, size):
    operator, finite, residual = float32_batch(size, 4)  # the larger system has an exact null space
    direction, lifted = kind(operator, finite).solve(residual, 1e-16)
    assert lifted
    assert direction.isfinite().all()
    assert direction.any()
    _, lifted = kind(operator, finite).solve(residual, 1e-3)
    assert not lifted


@pytest.mark.parametrize("size", [20, 400])
def test_float32_scores_keep_their_precision(size):
    operator, finite, residual = float32_batch(size, 8)
    expected = dense_solution(operator.dense().double(), residual, 1e-3)
    direction, _ = normal_equations(operator, finite).solve(residual, 1e-3)
    assert direction.dtype == torch.float32
    assert (direction.double() - expected).norm() < 1e-5 * expected.norm()
