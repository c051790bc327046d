import pytest
import torch

from qmcnet.optimizers.curvature import DiagonalBlock, FullBlock, KroneckerBlock, decompose
from qmcnet.optimizers.operator import LayerScores, Slot
from qmcnet.optimizers.spectra import eigh

N_IN, N_OUT = 5, 3


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shares(count):
    """Weights of walkers, one of which is lost."""
    weights = draw(count, seed=2).exp()
    weights[count // 2] = 0
    return weights / weights.sum()


def linear_layer(n_walkers=8, n_rows=4, bias=True, n_functions=1):
    """Inputs and signals with means, and a column of ones as a bias has it; the inputs of all functions are equal."""
    inputs = draw(n_walkers, n_rows, N_IN) + 0.7
    if bias:
        inputs[..., -1] = 1
    signals = draw(n_walkers * n_functions, n_rows, N_OUT, seed=3) - 0.4
    return LayerScores(inputs.repeat_interleave(n_functions, 0), signals, (Slot(0, N_OUT, N_IN),))


def single_row(n_walkers=20, width=6, n_functions=1):
    inputs = (draw(n_walkers * n_functions, width) @ draw(width, width, seed=4) + 0.5)[:, None]
    return LayerScores(inputs, torch.ones(len(inputs), 1, 1, dtype=torch.float64), (Slot(0, 1, width),))


def covariance_of(layer, weights):
    """Sum over functions of the covariances of the scores, one row a walker."""
    total = torch.zeros(layer.inputs.shape[-1]).double()
    n_functions = len(layer.inputs) // len(weights)
    for g in range(n_functions):
        scores = layer.inputs[g::n_functions, 0]
        scores = scores - weights @ scores
        total = total + (scores * weights[:, None]).T @ scores
    return total


def prepared(block, averages):
    return decompose({7: block}, {7: averages})[7]


each_number_of_functions = pytest.mark.parametrize("n_functions", [1, 2, 3])


def total(parts):
    first, *others = parts
    return {name: first[name] + sum(other[name] for other in others) for name in first}


def halves(layer, weights):
    """The same walkers in two chunks."""
    n_functions = len(layer.inputs) // len(weights)
    for start, stop in ((0, 3), (3, len(weights))):
        part = slice(start * n_functions, stop * n_functions)
        yield LayerScores(layer.inputs[part], layer.signals[part], layer.slots), weights[start:stop]


@each_number_of_functions
def test_covariances_of_a_linear_layer_are_averages_over_walkers_and_rows(n_functions):
    layer, weights = linear_layer(n_functions=n_functions), shares(8)
    averages = KroneckerBlock().measure(layer, weights)
    inputs, signals = torch.zeros(N_IN, N_IN).double(), torch.zeros(N_OUT, N_OUT).double()
    input_mean, signal_mean = torch.zeros(N_IN).double(), torch.zeros(n_functions, N_OUT).double()
    for walker in range(8):
        for row in range(4):
            x = layer.inputs[n_functions * walker, row]
            inputs += weights[walker] * torch.outer(x, x) / 4
            input_mean += weights[walker] * x / 4
            for g in range(n_functions):
                s = layer.signals[n_functions * walker + g, row]
                signals += weights[walker] * torch.outer(s, s)
                signal_mean[g] += weights[walker] * s / 4
    expected = {"inputs": inputs, "signals": signals, "input_mean": input_mean, "signal_mean": 2 * signal_mean}
    assert averages.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(averages[name], value, rtol=1e-12, atol=1e-12)


@each_number_of_functions
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("damping", [1e-6, 1e-3, 0.3])
def test_kronecker_division_is_the_dense_solve(damping, bias, n_functions):
    layer, weights, gradient = linear_layer(bias=bias, n_functions=n_functions), shares(8), draw(N_OUT, N_IN, seed=5)
    block = KroneckerBlock()
    averages = block.measure(layer, weights)
    pi = ((averages["inputs"].trace() / N_IN) / (averages["signals"].trace() / N_OUT)).sqrt()
    damped_inputs = averages["inputs"] + pi * damping**0.5 * torch.eye(N_IN).double()
    damped_signals = averages["signals"] + damping**0.5 / pi * torch.eye(N_OUT).double()
    curvature = torch.kron(damped_signals, damped_inputs)
    for signal_mean in averages["signal_mean"]:
        mean = torch.outer(signal_mean, averages["input_mean"]).flatten()
        curvature -= torch.outer(mean, mean)
    expected = torch.linalg.solve(curvature, gradient.flatten()).view(N_OUT, N_IN)
    step = block.divide(gradient, prepared(block, averages), damping)
    assert (step - expected).norm() < 1e-8 * expected.norm()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_split_of_the_damping_does_not_depend_on_how_a_layer_is_scaled(scale):
    layer, weights, gradient = linear_layer(), shares(8), draw(N_OUT, N_IN, seed=5)
    scaled = LayerScores(layer.inputs * scale, layer.signals / scale, layer.slots)
    block = KroneckerBlock()
    step, again = (block.divide(gradient, prepared(block, block.measure(x, weights)), 0.1) for x in (layer, scaled))
    torch.testing.assert_close(again, step, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("block", [KroneckerBlock(), FullBlock(), DiagonalBlock()])
def test_much_damping_divides_by_the_damping_alone(block):
    layer = linear_layer() if isinstance(block, KroneckerBlock) else single_row(8)
    gradient = draw(layer.signals.shape[-1], layer.inputs.shape[-1], seed=5)
    step = block.divide(gradient, prepared(block, block.measure(layer, shares(8))), 1e16)
    torch.testing.assert_close(step * 1e16, gradient, rtol=1e-5, atol=1e-7)


def test_a_layer_that_is_called_once_has_its_exact_covariance():
    inputs = draw(30, 1, N_IN) + 2.0
    layer = LayerScores(inputs, torch.ones(30, 1, 1, dtype=torch.float64), (Slot(0, 1, N_IN),))
    weights, gradient, block = shares(30), draw(1, N_IN, seed=5), KroneckerBlock()
    flat = inputs[:, 0] - weights @ inputs[:, 0]
    covariance = (flat * weights[:, None]).T @ flat
    expected = torch.linalg.solve(covariance, gradient[0])
    step = block.divide(gradient, prepared(block, block.measure(layer, weights)), 1e-20)[0]
    assert (step - expected).norm() < 1e-8 * expected.norm()


@each_number_of_functions
@pytest.mark.parametrize("damping", [1e-6, 1e-3, 0.3])
def test_full_division_is_the_dense_solve_with_the_covariance(damping, n_functions):
    layer, weights, gradient = single_row(n_functions=n_functions), shares(20), draw(1, 6, seed=5)
    block, covariance = FullBlock(), covariance_of(layer, weights)
    expected = torch.linalg.solve(covariance + damping * torch.eye(6).double(), gradient[0])
    step = block.divide(gradient, prepared(block, block.measure(layer, weights)), damping)[0]
    assert (step - expected).norm() < 1e-9 * expected.norm()


@each_number_of_functions
@pytest.mark.parametrize("damping", [1e-6, 1e-3, 0.3])
def test_diagonal_division_is_by_damped_variances(damping, n_functions):
    layer, weights, gradient = single_row(n_functions=n_functions), shares(20), draw(1, 6, seed=5)
    block = DiagonalBlock()
    expected = gradient[0] / (covariance_of(layer, weights).diagonal() + damping)
    step = block.divide(gradient, prepared(block, block.measure(layer, weights)), damping)[0]
    torch.testing.assert_close(step, expected, rtol=1e-10, atol=0)


@each_number_of_functions
@pytest.mark.parametrize("block", [KroneckerBlock(), FullBlock(), DiagonalBlock()])
def test_chunks_of_walkers_add_up(block, n_functions):
    layer = (linear_layer if isinstance(block, KroneckerBlock) else single_row)(8, n_functions=n_functions)
    weights = shares(8)
    whole, parts = block.measure(layer, weights), total([block.measure(*part) for part in halves(layer, weights)])
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("block", [KroneckerBlock(), FullBlock(), DiagonalBlock()])
def test_a_score_that_never_varies_is_divided_by_the_damping(block):
    inputs, signals = torch.ones(4, 1, 1, dtype=torch.float64), torch.ones(4, 1, 1, dtype=torch.float64)
    averages = block.measure(LayerScores(inputs, signals, (Slot(0, 1, 1),)), torch.full((4,), 0.25).double())
    step = block.divide(torch.ones(1, 1, dtype=torch.float64), prepared(block, averages), 1e-2)
    expected = 1 / (1.1**2 - 1) if isinstance(block, KroneckerBlock) else 100  # (1 + 0.1) (1 + 0.1) - 1
    assert step.item() == pytest.approx(expected, rel=1e-9)


def test_eigenvalues_below_zero_are_rounding_and_a_lost_matrix_says_so():
    matrix = torch.diag(torch.tensor([2.0, -1e-9, 0.5], dtype=torch.float64))
    values, basis = eigh([matrix])[0]
    assert values.tolist() == pytest.approx([0, 0.5, 2])
    torch.testing.assert_close(basis * values @ basis.mT, matrix.clamp(min=0), rtol=1e-12, atol=1e-12)
    matrix[0, 1] = torch.nan
    assert eigh([matrix])[0][0].isnan().all()


def test_matrices_of_one_size_share_one_call_and_keep_their_bits(monkeypatch):
    calls, exact = [], torch.linalg.eigh

    def count(stacked):
        calls.append(stacked.shape)
        return exact(stacked)

    squares = [draw(n, n, seed=k) for k, n in enumerate((4, 6, 4, 1, 6, 4))]
    matrices = [square @ square.mT for square in squares]
    matrices[2] = torch.full_like(matrices[2], torch.inf)
    matrices.append(matrices[1].float())
    alone = [exact(matrix) for matrix in matrices if matrix.isfinite().all()]
    monkeypatch.setattr(torch.linalg, "eigh", count)
    found = eigh(matrices)
    assert sorted(calls) == [(1, 1, 1), (1, 6, 6), (2, 6, 6), (3, 4, 4)]
    assert found.pop(2)[0].isnan().all()
    for (values, basis), (expected, expected_basis) in zip(found, alone, strict=True):
        assert torch.equal(values, expected.clamp(min=0))
        assert torch.equal(basis, expected_basis)


def test_blocks_of_all_kinds_are_decomposed_together():
    layer, row = linear_layer(), single_row(8)
    blocks = {0: KroneckerBlock(), 15: FullBlock(), 40: DiagonalBlock()}
    averages = {0: blocks[0].measure(layer, shares(8))}
    averages |= {k: blocks[k].measure(row, shares(8)) for k in (15, 40)}
    together = decompose(blocks, averages)
    for k, block in blocks.items():
        alone = prepared(block, averages[k])
        assert together[k].keys() == alone.keys()
        assert all(torch.equal(together[k][name], value) for name, value in alone.items())
