import os

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Matrices this small only lose by threads, and on a busy machine many times over."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)
