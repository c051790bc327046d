"""What do reduced-precision jacobian products do to the local energy of a trained wavefunction?

Only the jacobian rows of each linear map are rounded; value and Laplacian stay in float32. `tf32` rounds the factors
to 10 bits of mantissa, as tensor cores do, and `bfloat16` multiplies in bfloat16. Walkers follow |psi|^2; each is
evaluated in every precision, and the difference from float64 is taken walker by walker. A bias below 0.05 mHa and
less than 5 % of added variance were asked for before an option would be offered.

    python benchmarks/precision.py RUN_DIRECTORY ... [--walkers 100000] [--threads 1] [--json FILE]
"""

import argparse
import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import alternate, machine, print_table, store
from torch import Tensor

import qmcnet
from qmcnet.compute import kernels
from qmcnet.compute.process import prepare_process
from qmcnet.laplacian import ForwardLaplacian, LapTuple
from qmcnet.laplacian.laptuple import RULES
from qmcnet.operators import MolecularHamiltonian
from qmcnet.protocols import LaplacianBackend
from qmcnet.states.ensemble import Ensemble, states_at

Product = Callable[[Tensor, Tensor], Tensor]


def tf32(x: Tensor) -> Tensor:
    """Round to the 10 bits of mantissa that a tensor core reads.

    Args:
        x: any shape, float32.

    Returns:
        The rounded numbers.
    """
    return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def product_in_tf32(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply rounded factors and sum in float32."""
    return kernels.linear(tf32(x.contiguous()), tf32(weight))


def product_in_bfloat16(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply in bfloat16."""
    return F.linear(x.bfloat16(), weight.bfloat16()).float()


PRODUCTS: dict[str, Product | None] = {"float32": None, "tf32": product_in_tf32, "bfloat16": product_in_bfloat16}


@contextmanager
def jacobian_products(product: Product) -> Generator[None, None, None]:
    """Use another product for the jacobian rows of linear maps.

    Args:
        product: maps (rows, weight) to rows.

    Yields:
        Nothing.
    """
    original = RULES[F.linear]

    def linear(x: LapTuple, weight: Tensor, bias: Tensor | None = None) -> LapTuple:
        if x.feature_axis(-1) <= x.support.owner_axes:
            x = x.dense()
        rows = x.rows.new_empty((*x.rows.shape[:-1], len(weight)))
        rows[:-2] = product(x.jacobian, weight)
        rows[-2:] = kernels.linear(x.rows[-2:], weight)
        if bias is not None:
            rows[-1] += bias
        return LapTuple.from_rows(rows, x.support)

    RULES[F.linear] = linear
    try:
        yield
    finally:
        RULES[F.linear] = original


def evaluate(
    hamiltonian: MolecularHamiltonian,
    ansatz: Ensemble,
    laplacian: LaplacianBackend,
    product: Product | None,
    positions: Tensor,
) -> Tensor:
    """Local energies with one kind of jacobian product.

    Args:
        hamiltonian: of the molecule.
        ansatz: the wavefunction.
        laplacian: back end that differentiates.
        product: of jacobian rows and weights.
        positions: shape (B, N, 3), in bohr.

    Returns:
        Local energies, shape (B,), in hartree.
    """
    with nullcontext() if product is None else jacobian_products(product):
        return hamiltonian(states_at(ansatz, positions, laplacian, torch.Generator())).total


def measure(directory: Path, n_walkers: int) -> list[dict[str, object]]:
    """Compare the precisions on one trained run.

    Args:
        directory: of the run.
        n_walkers: walkers to evaluate.

    Returns:
        One row for each precision.
    """
    run = qmcnet.load(directory)
    simulation = run.simulation
    single = simulation.hamiltonian, simulation.ensemble, simulation.laplacian
    double = simulation.hamiltonian, copy.deepcopy(simulation.ensemble).double(), ForwardLaplacian()
    exact: list[Tensor] = []
    energies: dict[str, list[Tensor]] = {name: [] for name in PRODUCTS}
    while sum(len(part) for part in exact) < n_walkers:
        simulation.sweep(adapt=False)
        positions = simulation.walkers.positions
        exact.append(evaluate(*double, None, positions.double()))
        for name, product in PRODUCTS.items():
            energies[name].append(evaluate(*single, product, positions))
    contestants = {name: partial(evaluate, *single, product, positions) for name, product in PRODUCTS.items()}
    seconds = alternate(contestants, 7)
    reference = torch.cat(exact)
    rows = []
    for name in PRODUCTS:
        energy = torch.cat(energies[name])
        difference = energy - reference
        rows.append(
            {
                "run": f"{run.molecule.formula} {sum(p.numel() for p in run.ansatz.parameters())}",
                "jacobian": name,
                "walkers": len(energy),
                "std of E_L / Ha": reference.std().item(),
                "bias / mHa": 1e3 * difference.mean().item(),
                "+-": 1e3 * difference.std().item() / len(energy) ** 0.5,
                "rms change / mHa": 1e3 * difference.square().mean().sqrt().item(),
                "added variance / %": 100 * (energy.var() / reference.var() - 1).item(),
                "gain": seconds["float32"] / seconds[name],
            }
        )
    return rows


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--walkers", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    prepare_process()
    print(machine())
    rows = []
    for directory in arguments.directories:
        rows += measure(directory, arguments.walkers)
        print_table(rows)
    store(arguments.json, rows=rows)


if __name__ == "__main__":
    main()
