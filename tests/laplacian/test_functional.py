import inspect
import textwrap

import pytest
import torch

from qmcnet.laplacian import laplacian, torch_func_laplacian


def log_psi(x):
    weights = torch.softmax(x @ x.transpose(-2, -1), -1)
    return -torch.linalg.vector_norm(x, dim=-1).sum(-1) + (weights @ torch.sin(x)).mean((-2, -1))


def test_value_gradient_and_laplacian(positions):
    expected = torch_func_laplacian(log_psi, positions)
    for chunk_size in (None, 1, 2, 5):
        value, gradient, second = laplacian(log_psi, chunk_size)(positions)
        torch.testing.assert_close(value, log_psi(positions), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, expected.gradient, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(second, expected.laplacian, rtol=1e-10, atol=1e-10)


def test_a_gaussian_in_closed_form(positions):
    value, gradient, second = laplacian(lambda x: torch.exp(-x.square().sum((1, 2)) / 2))(positions)
    squares = positions.square().sum((1, 2))
    torch.testing.assert_close(value, torch.exp(-squares / 2))
    torch.testing.assert_close(gradient, -positions * value[:, None, None])
    torch.testing.assert_close(second, (squares - 12) * value)


def test_a_wave_packet_in_closed_form(positions):
    wave = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)

    def packet(x):
        phase = (x * wave).sum((1, 2))
        return torch.complex(torch.cos(phase), torch.sin(phase)) * torch.exp(-x.square().sum((1, 2)) / 2)

    value, gradient, second = laplacian(packet)(positions)
    slope = 1j * wave - positions
    torch.testing.assert_close(gradient, slope * value[:, None, None])
    torch.testing.assert_close(second, (slope.square().sum((1, 2)) - 12) * value)


def test_the_example_of_the_documentation_runs(positions):
    lines = inspect.getdoc(laplacian).split("Example:\n")[1]
    scope = {}
    exec(textwrap.dedent(lines), scope)
    assert scope["gradient"].shape == (100, 4, 3)
    assert scope["value"].shape == scope["second"].shape == (100,)
    network = scope["mix"].double()
    assert not any(parameter.grad is not None for parameter in network.parameters())
    expected = torch_func_laplacian(scope["log_psi"], positions)
    torch.testing.assert_close(laplacian(scope["log_psi"])(positions)[2], expected.laplacian, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "x", [torch.zeros(4, 3), torch.zeros(2, 4, 2), torch.zeros(2, 4, 3, dtype=torch.int64), torch.zeros(1, 2, 4, 3)]
)
def test_positions_of_another_shape_or_type_are_refused(x):
    with pytest.raises(ValueError, match=r"positions of shape .* \(B, N, 3\)"):
        laplacian(log_psi)(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (torch.sign(x.value[:, 0, 0]), log_psi(x)), r"returned a tuple .* psi\(positions\)\[1\]"),
        (lambda x: torch.ones(3), "returned Tensor, which does not depend"),
        (lambda x: 0.0, "returned float, which does not depend"),
        (lambda x: x, r"returned shape \(3, 4, 3\)"),
        (lambda x: log_psi(x)[:, None], r"returned shape \(3, 1\)"),
    ],
)
def test_results_other_than_one_number_a_walker_are_refused(function, message, positions):
    with pytest.raises(ValueError, match=message):
        laplacian(function)(positions)


def test_an_impossible_chunk_is_refused():
    with pytest.raises(ValueError, match="chunk_size=0"):
        laplacian(log_psi, 0)
