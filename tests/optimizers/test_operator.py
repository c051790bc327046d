import pytest
import torch

from qmcnet import FermiNet, Molecule, NaturalStates
from qmcnet.optimizers.operator import LayerScores, ScoreOperator, Slot, joined
from qmcnet.optimizers.scores import score_operator

MOLECULE = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3.0]])


@pytest.fixture(params=[True, False], ids=["full", "blocks"])
def case(request, walkers, autograd_scores):
    """An operator of several chunks with layers of both kinds, and the matrix it stands for."""
    sizes = {"n_layers": 2, "hidden_one": 16, "hidden_two": 4, "n_determinants": 2}
    network = FermiNet(MOLECULE, **sizes, full_determinants=request.param, jastrow="cusp", dtype=torch.float64)
    ansatz = NaturalStates(network)
    positions = walkers(7, 4)
    return score_operator(ansatz, positions, 3), autograd_scores(ansatz, positions)


def draw(size):
    return torch.randn(size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_both_kinds_of_layers_occur(case):
    outputs = [layer.signals.shape[-1] for layer in case[0].layers]
    assert outputs[-1] == 1
    assert max(outputs) == 16


def test_dense_is_the_matrix(case):
    operator, matrix = case
    torch.testing.assert_close(operator.dense(), matrix, rtol=1e-10, atol=1e-10)


def test_times_multiplies_parameters(case):
    operator, matrix = case
    vector = draw(matrix.shape[1])
    torch.testing.assert_close(operator.times(vector), matrix @ vector, rtol=1e-10, atol=1e-10)


def test_transposed_times_multiplies_walkers(case):
    operator, matrix = case
    weights = draw(7)
    torch.testing.assert_close(operator.transposed_times(weights), matrix.mT @ weights, rtol=1e-10, atol=1e-10)


def test_kernel_multiplies_the_matrix_with_its_transpose(case):
    operator, matrix = case
    torch.testing.assert_close(operator.kernel(), matrix @ matrix.mT, rtol=1e-10, atol=1e-10)


def test_slots_are_views_of_the_vector_of_parameters():
    vector = torch.arange(10.0)
    Slot(2, 2, 3).matrix(vector).neg_()
    assert vector.tolist() == [0, 1, -2, -3, -4, -5, -6, -7, 8, 9]


def test_columns_and_outputs_of_a_wide_layer_go_to_their_parameters():
    inputs = torch.tensor([[[1.0, 2.0, 1.0]]])
    signals = torch.tensor([[[10.0, 100.0]]])
    operator = ScoreOperator([LayerScores(inputs, signals, (Slot(2, 2, 2), Slot(0, 2, 1)))], 6, len(inputs))
    assert operator.dense().tolist() == [[10, 100, 10, 20, 100, 200]]


@pytest.mark.parametrize(("n_rows", "smaller"), [(1, True), (2, True), (3, False)])
def test_layers_are_kept_while_they_are_smaller_than_scores(n_rows, smaller):
    layer = LayerScores(torch.ones(5, n_rows, 4), torch.ones(5, n_rows, 6), (Slot(0, 6, 4),))
    assert layer.is_smaller_than_scores() is smaller


def test_chunks_of_different_layers_are_not_joined():
    one = LayerScores(torch.ones(1, 1, 1), torch.ones(1, 1, 1), (Slot(0, 1, 1),))
    other = LayerScores(torch.ones(1, 1, 1), torch.ones(1, 1, 1), (Slot(1, 1, 1),))
    assert joined([[one], [one]])[0].inputs.shape == (2, 1, 1)
    with pytest.raises(AssertionError):
        joined([[one], [other]])
