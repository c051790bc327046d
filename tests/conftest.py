import os

import pytest
import torch
from torch import nn

from qmcnet.laplacian import scaled_exp


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Matrices this small only lose by threads, and on a busy machine many times over."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)


class Mixed(nn.Module):
    """States psi'_j = sum_k psi_k A_kj."""

    def __init__(self, network, matrix):
        super().__init__()
        self.network, self.molecule = network, network.molecule
        self.settings = {"n_states": matrix.shape[-1]}
        self.register_buffer("matrix", matrix)

    def forward(self, positions):
        values, shift = scaled_exp(*self.network(positions))
        sign, log_abs_psi = torch.linalg.slogdet((values @ self.matrix)[..., None, None])
        return sign, log_abs_psi + shift[..., None]


@pytest.fixture(scope="session")
def mixed():
    """States mixed by a matrix."""
    return Mixed


class OneState(nn.Module):
    """A network of one state that says so by an axis of length one."""

    def __init__(self, network):
        super().__init__()
        self.network, self.molecule, self.settings = network, network.molecule, {"n_states": 1}

    def forward(self, positions):
        sign, log_abs_psi = self.network(positions)
        return sign[..., None], log_abs_psi[..., None]


@pytest.fixture(scope="session")
def one_state():
    """A network with an axis for its single state."""
    return OneState


@pytest.fixture(scope="session")
def mixing():
    """Draw a matrix that is well-conditioned but neither symmetric nor orthogonal."""

    def draw(size, seed=9):
        matrix = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return torch.eye(size, dtype=torch.float64) + 0.4 * matrix

    return draw
