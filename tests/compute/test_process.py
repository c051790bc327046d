import subprocess
import sys

import pytest
import torch

from qmcnet.compute.process import prepare_process

FAULTS = """
import resource, torch
def work():
    blocks = [torch.ones(2**20) for _ in range(40)]
def faults():
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
from qmcnet.compute.process import prepare_process
prepare_process()
print(before, faults())
"""


def test_products_are_those_of_single_precision():
    torch.set_float32_matmul_precision("high")
    prepare_process()
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 10 * max(after, 10)
