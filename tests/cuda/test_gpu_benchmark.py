import importlib.util
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    """The file as its command runs it, with what lies beside it."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_part_of_a_step_is_measured(benchmark):
    (case,) = benchmark.CASES[True]
    rows = benchmark.parts(*case, repeats=1)
    assert [row["part"] for row in rows] == ["ten moves", "local energy", *benchmark.OPTIMIZERS]
    assert all(row["seconds"] > 0 and row["launches"] > 10 for row in rows)
    table = benchmark.markdown(rows, {"resume": {"steps": 30, "same steps": 30}})
    lines = table.splitlines()
    assert [line.count("|") for line in lines[: len(rows) + 2]] == [8] * (len(rows) + 2)
    assert lines[-1] == "resume: steps 30, same steps 30"


def test_launches_are_operations_that_compute(benchmark):
    x = torch.ones(3, 4)
    with benchmark.Launches() as launches:
        (x.T.unsqueeze(0) + 1).sum()
    assert launches.total == 2
