"""What does a local energy cost, against a forward pass, against torch.func, and as electrons are added?

FermiNet with 4 layers of 256 and 32 features and 16 full determinants, float32. The forward pass is that of sampling.
GFLOP/s count the multiplications and additions of matrix products; the bound is a product of 2408 x 256 by
256 x 256 timed in the same run. `torch_func` differentiates a few walkers, and the time is scaled to all of them.

    python benchmarks/laplacian.py [--threads 1] [--repeats 7] [--compile] [--json FILE] [--chains 4 8 ...] [SYSTEM ...]
"""

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import alternate, machine, print_table, store, system, walkers
from torch.utils.flop_counter import FlopCounterMode

from qmcnet import FermiNet, ForwardLaplacian, TorchFuncLaplacian
from qmcnet.compute.kernels import linear
from qmcnet.compute.process import prepare_process
from qmcnet.laplacian import forward_laplacian
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

WALKERS = {"LiH": 256, "CH4": 64, "N2": 64, "C6H6": 8}
FEW = 2
"""Walkers that torch.func differentiates."""


def product_bound(repeats: int) -> float:
    """Measure the speed of the matrix product that most of the work consists of.

    Args:
        repeats: timings.

    Returns:
        GFLOP/s.
    """
    x, weight = torch.randn(2408, 256), torch.randn(256, 256)
    with torch.inference_mode():
        seconds = alternate({"product": lambda: linear(x, weight)}, 10 * repeats)["product"]
    return 2 * x.numel() * 256 / seconds / 1e9


def operations(molecule: Molecule, positions: torch.Tensor) -> float:
    """Count the floating-point operations of the matrix products of a local energy.

    Args:
        molecule: the system.
        positions: shape (B, N, 3), in bohr.

    Returns:
        GFLOP for all walkers.
    """
    # In double precision the products go through operations that torch counts.
    double = NaturalStates(FermiNet(molecule, dtype=torch.float64)).log_psi
    with FlopCounterMode(display=False) as counter:
        forward_laplacian(double, positions[:1].double())
    return counter.get_total_flops() * len(positions) / 1e9


def measure(name: str, count: int, repeats: int, compiled: bool, reference: bool) -> dict[str, Any]:
    """Time one system.

    Args:
        name: the system.
        count: walkers.
        repeats: timings of each contestant.
        compiled: also time the compiled local energy.
        reference: also time torch.func.

    Returns:
        One row of the table.
    """
    molecule = system(name)
    positions = walkers(molecule, count)
    function = NaturalStates(FermiNet(molecule)).log_psi
    forward = torch.inference_mode()(partial(function, positions))
    contestants: dict[str, Callable[[], object]] = {
        "forward": forward,
        "local energy": partial(ForwardLaplacian(), function, positions),
    }
    if compiled:
        contestants["compiled"] = compiled_energy = partial(ForwardLaplacian(compile=True), function, positions)
        plain = ForwardLaplacian()(function, positions).laplacian
        torch.testing.assert_close(compiled_energy().laplacian, plain, rtol=1e-2, atol=1e-2)
    seconds = alternate(contestants, repeats)
    row: dict[str, Any] = {"system": name, "electrons": molecule.n_electrons, "walkers": count, **seconds}
    row["ratio"] = seconds["local energy"] / seconds["forward"]
    if reference:
        few = alternate({"it": partial(TorchFuncLaplacian(), function, positions[:FEW])}, 1)["it"]
        row["torch_func"] = few * count / FEW
        row["gain"] = row["torch_func"] / seconds["local energy"]
    row["GFLOP"] = operations(molecule, positions)
    row["GFLOP/s"] = row["GFLOP"] / seconds["local energy"]
    return row


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(WALKERS), metavar="SYSTEM")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--chains", type=int, nargs="*", default=[4, 6, 8, 12, 16, 20, 28, 40])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    prepare_process()
    bound = product_bound(arguments.repeats)
    print(machine(), f"matrix product {bound:.0f} GFLOP/s")
    rows = [
        measure(name, WALKERS.get(name, 64), arguments.repeats, arguments.compile, True) for name in arguments.systems
    ]
    print_table(rows)
    chains = [
        measure(f"H{n}", max(2, 256 // n), max(3, arguments.repeats // 2), False, False) for n in arguments.chains
    ]
    exponent = float("nan")
    if len(chains) > 1:
        print_table(chains)
        sizes = np.log([row["electrons"] for row in chains])
        exponent = float(np.polyfit(sizes, np.log([row["local energy"] / row["walkers"] for row in chains]), 1)[0])
        print(f"seconds per walker grow as electrons to the power {exponent:.2f}")
    store(arguments.json, product_gflops=bound, systems=rows, chains=chains, exponent=exponent)


if __name__ == "__main__":
    main()
