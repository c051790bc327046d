import pytest
import torch

from qmcnet.compute.process import prepare_process


@pytest.mark.parametrize(("there_is_a_gpu", "asked_for"), [(True, ["cusolver"]), (False, [])])
def test_linear_algebra_on_a_gpu_is_that_of_cusolver(there_is_a_gpu, asked_for, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_a_gpu)
    monkeypatch.setattr(torch.backends.cuda, "preferred_linalg_library", calls.append)
    prepare_process()
    assert calls == asked_for
