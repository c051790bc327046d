"""What does a sample of a training step cost, part by part, here and in another checkout?

A sample is one walker of one step as a preset makes it: its moves, its local energy and its share of the update. Each
checkout builds the run by its own configuration in a process of its own; the processes take turns, in rounds, and the
figures are medians of processor milliseconds a sample.

    python benchmarks/samples.py [--against DIR] [--rounds 3] [--json FILE] [CASE ...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine, print_table, store

CASES = {
    "LiH quick": ["+system=LiH", "preset=quick"],
    "C quick": ["+system=C", "preset=quick"],
    "Ne quick": ["+system=Ne", "preset=quick"],
    "N2 quick": ["+system=N2", "preset=quick"],
    "C6H6 quick x 64": ["+system=benzene", "preset=quick", "batch_size=64"],
    "C published x 64": ["+system=C", "batch_size=64"],
    "Ne published x 64": ["+system=Ne", "batch_size=64"],
    "N2 published x 64": ["+system=N2", "batch_size=64"],
    "C6H6 published x 8": ["+system=benzene", "batch_size=8"],
    "N2 Psiformer x 64": ["+system=N2", "ansatz=psiformer", "batch_size=64"],
}
"""What is typed for each."""
REPEATS = 5
"""Timings of each part in a process, after one that is not counted."""
PARTS = ("moves", "local energy", "update")


def work(case: str) -> dict[str, float]:
    """Time the parts of a step in this process.

    Args:
        case: key of CASES.

    Returns:
        Processor milliseconds a sample of each part.
    """
    from hydra import compose, initialize_config_dir

    from qmcnet.compute.process import prepare_process
    from qmcnet.config.build import build
    from qmcnet.config.naming import config_directory, register_resolvers

    torch.set_num_threads(1)
    prepare_process()
    register_resolvers()
    with initialize_config_dir(str(config_directory()), version_base=None):
        cfg = compose("config", overrides=[*CASES[case], "device=cpu", "pretraining.steps=0", "seed=0"])
    with tempfile.TemporaryDirectory() as folder:
        run = build(cfg, f"{folder}/run")
        simulation: Any = run.simulation
        optimizer: Any = next(value for value in vars(run.trial()).values() if hasattr(value, "learning_rate"))
        optimizer.learning_rate = 1e-12  # so slow that updates in the same place leave the wavefunction as it is
        sweep = getattr(simulation, "sweep", None) or (  # versions before local moves
            lambda: simulation.sampler.sweep(simulation.log_prob, simulation.walkers, simulation.generator)
        )
        energies = run.objective(simulation.hamiltonian(simulation.states()), ())
        parts: dict[str, Callable[[], object]] = {
            "moves": sweep,
            "local energy": lambda: simulation.hamiltonian(simulation.states()),
            "update": lambda: optimizer.update(simulation.walkers.positions, energies),
        }
        seconds = {name: [timed(part) for _ in range(REPEATS + 1)][1:] for name, part in parts.items()}
    return {name: 1e3 * statistics.median(values) / run.batch_size for name, values in seconds.items()}


def timed(part: Callable[[], object]) -> float:
    """Measure processor seconds.

    Args:
        part: what to do.

    Returns:
        Seconds.
    """
    start = time.process_time()
    part()
    return time.process_time() - start


def measure(case: str, checkouts: dict[str, Path], rounds: int) -> list[dict[str, Any]]:
    """Let the checkouts take turns.

    Args:
        case: key of CASES.
        checkouts: by name.
        rounds: processes of each.

    Returns:
        A row for each checkout.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    for _ in range(rounds):
        for name, folder in checkouts.items():
            environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--work", case]
            output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
            found[name].append(json.loads(output.splitlines()[-1]))
    medians = {
        name: {part: statistics.median(value[part] for value in values) for part in PARTS}
        for name, values in found.items()
    }
    sums = {name: sum(parts.values()) for name, parts in medians.items()}
    *_, last = sums.values()
    return [
        {"case": case, "checkout": name, **parts, "sum": sums[name], "gain": last / sums[name]}
        for name, parts in medians.items()
    ]


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, with which gains are told")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("cases", nargs="*", choices=[[], *CASES], default=[])
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(work(arguments.work)))
        return
    checkouts = {"this": Path(__file__).parents[1]}
    if arguments.against:
        checkouts["other"] = arguments.against.resolve()
    torch.set_num_threads(1)
    print(machine())
    rows = [row for case in arguments.cases or CASES for row in measure(case, checkouts, arguments.rounds)]
    print_table(rows)
    store(arguments.json, rows=rows)


if __name__ == "__main__":
    main()
