"""How much memory does an update of the parameters need with thousands of walkers?

FermiNet with 4 layers of 256 and 32 features and 16 full determinants, float32; one fresh process a row (Linux only).

    python benchmarks/update_memory.py [--threads 2] [--walkers 1024 4096] [--chunk-size 64] [SYSTEM ...]
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

import torch
from common import machine, print_table, system, walkers
from memory import resident

from qmcnet import FermiNet, Kfac, NaturalStates, Spring
from qmcnet.compute.process import prepare_process

OPTIMIZERS = {"SPRING": Spring, "KFAC": Kfac}


def measure(label: str, name: str, count: int, chunk_size: int) -> dict[str, Any]:
    """Make one update in this process, which must be fresh.

    Args:
        label: key of OPTIMIZERS.
        name: a system of `common.py`.
        count: number of walkers.
        chunk_size: walkers differentiated at once.

    Returns:
        One row of the table.
    """
    molecule = system(name)
    ansatz, positions = NaturalStates(FermiNet(molecule)), walkers(molecule, count)
    optimizer = OPTIMIZERS[label](ansatz, chunk_size=chunk_size)
    energies = torch.randn(count, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before, start = resident("VmRSS"), time.perf_counter()
    optimizer.update(positions, energies)
    n_parameters = sum(parameter.numel() for parameter in ansatz.parameters())
    row = {"optimizer": label, "system": name, "parameters": n_parameters, "walkers": count}
    return row | {"GB": (resident("VmHWM") - before) / 1e9, "seconds": time.perf_counter() - start}


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--walkers", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--chunk-size", type=int, default=64)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("systems", nargs="*", default=["N2", "C6H6"])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prepare_process()
    if arguments.worker:
        print(json.dumps(measure(*json.loads(arguments.worker))))
        return
    rows = []
    for case in [
        (o, s, n, arguments.chunk_size) for s in arguments.systems for n in arguments.walkers for o in OPTIMIZERS
    ]:
        worker = [sys.executable, __file__, "--threads", str(arguments.threads), "--worker", json.dumps(case)]
        rows.append(json.loads(subprocess.run(worker, capture_output=True, text=True, check=True).stdout))
    print(machine())
    print_table(rows)


if __name__ == "__main__":
    main()
