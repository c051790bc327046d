import subprocess
import sys

import pytest
import torch

from qmcnet.training.process import prepare_process

FAULTS = """
import resource, torch
{prepare}
def work():
    blocks = [torch.ones(2**20) for _ in range(40)]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PREPARE = "from qmcnet.training.process import prepare_process; prepare_process()"


def test_products_are_those_of_single_precision():
    torch.set_float32_matmul_precision("high")
    prepare_process()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept():
    faults = []
    for prepare in ("", PREPARE):
        command = [sys.executable, "-c", FAULTS.format(prepare=prepare)]
        faults.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert faults[0] > 10 * max(faults[1], 10)
