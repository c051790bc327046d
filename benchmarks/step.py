"""Where does the time of a training iteration go, and how long does a user wait for the first one?

One iteration is ten all-electron moves, the local energy and an update by one of the optimisers. `standard` is FermiNet
with 4 layers of 256 and 32 features and 16 full determinants, `quick` the network and walkers of preset=quick; float32.
The first step is the wall time of a cold `qmcnet-train` with one step and no pretraining, with the default burn-in and
without.

    python benchmarks/step.py [--threads 1] [--repeats 7] [--compile] [--first-steps 3] [--json FILE]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import alternate, machine, print_table, store, system, walkers

from qmcnet import VMC, FermiNet, FirstOrder, Kfac, LocalEnergy, Spring
from qmcnet.compute.process import prepare_process

SMALL = {"n_layers": 2, "hidden_one": 48, "hidden_two": 12, "n_determinants": 4}
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "LiH standard": ("LiH", 256, {}),
    "N2 standard": ("N2", 64, {}),
    "N2 standard, 256": ("N2", 256, {}),
    "LiH quick": ("LiH", 512, SMALL),
}
"""System, walkers and sizes of the network."""

UPDATES = 10
OPTIMIZERS = {"SPRING": Spring, "KFAC": Kfac, "Adam": FirstOrder}

FIRST_STEP = ["+system=N2", "batch_size=64", "steps=1", "pretraining.steps=0", "evaluation.steps=0", "device=cpu"]
NO_BURN_IN = ["burn_in.min_sweeps=0", "burn_in.max_sweeps=0"]


def measure(name: str, repeats: int, compiled: bool, folder: Path) -> dict[str, Any]:
    """Time the parts of an iteration, each by itself, and the whole.

    Args:
        name: key of CASES.
        repeats: timings of each.
        compiled: whether to run with compile=true.
        folder: a run directory, which stays empty.

    Returns:
        One row of the table.
    """
    label, count, sizes = CASES[name]
    molecule = system(label)
    run = VMC(FermiNet(molecule, **sizes), folder, batch_size=count, device="cpu", compile=compiled)
    simulation, positions = run.simulation, walkers(molecule, count)
    simulation.walkers = simulation.sampler.start(positions)
    for _ in range(20):
        simulation.sweep()
    positions = simulation.walkers.positions

    def sweep() -> None:
        simulation.sampler.sweep(simulation.log_prob, simulation.walkers, simulation.generator)

    def local_energy() -> LocalEnergy:
        return simulation.hamiltonian(simulation.states())

    energies = run.objective(local_energy(), ())

    parts: dict[str, Callable[[], object]] = {"sweep": sweep, "local energy": local_energy}
    for label, make in OPTIMIZERS.items():
        # So slow that updates in the same place leave the wavefunction as it is.
        parts[label] = partial(several, make(simulation.ensemble, learning_rate=1e-12).update, positions, energies)
    seconds = alternate(parts, repeats)
    seconds |= {label: seconds[label] / UPDATES for label in OPTIMIZERS}
    rest = seconds["sweep"] + seconds["local energy"]
    share = {f"{label} %": round(100 * seconds[label] / (rest + seconds[label])) for label in OPTIMIZERS}
    row = {"case": name, "walkers": count, "compiled": compiled, **seconds, "iteration": rest + seconds["SPRING"]}
    return row | share


def several(
    update: Callable[[torch.Tensor, torch.Tensor], object], positions: torch.Tensor, energies: torch.Tensor
) -> None:
    """Make as many updates as share a decomposition of the curvature in KFAC.

    Args:
        update: of an optimiser.
        positions: of the walkers.
        energies: their local energies, (B, 1).
    """
    for _ in range(UPDATES):
        update(positions, energies)


def first_step(overrides: list[str], repeats: int) -> float:
    """Time a cold process from start to end.

    Args:
        overrides: of qmcnet-train.
        repeats: processes.

    Returns:
        Median seconds.
    """
    seconds = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", "from qmcnet.cli.train import main; main()", *FIRST_STEP, *overrides]
            start = time.perf_counter()
            subprocess.run([*command, f"hydra.run.dir={folder}/run"], check=True, capture_output=True, cwd=folder)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--first-steps", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    prepare_process()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        modes = [False, True] if arguments.compile else [False]
        rows = [measure(name, arguments.repeats, mode, Path(folder) / "run") for name in CASES for mode in modes]
    print_table(rows)
    first = {}
    if arguments.first_steps:
        starts = {"with burn-in": [], "without": NO_BURN_IN}
        first = {name: first_step(overrides, arguments.first_steps) for name, overrides in starts.items()}
        print("first step of N2 x 64:", {name: round(value, 1) for name, value in first.items()}, "s")
    store(arguments.json, iterations=rows, first_step=first)


if __name__ == "__main__":
    main()
