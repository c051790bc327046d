"""What do several processes gain over one, what do they send each other, and what would end it on many GPUs?

One process with one thread, one with as many threads as there are processes, and the processes themselves take turns,
in rounds; a step is ten moves, the local energy and an update by SPRING. `wait` is what the first process spends in
messages: sending, and waiting for the others to get there. The table of GPUs is arithmetic with the assumptions that it
prints, from the bytes that the code counts.

    python benchmarks/scaling.py [--processes 2] [--rounds 3] [--steps 7] [--paper] [--json FILE] [CASE ...]
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import machine, print_table, store, system

from qmcnet import VMC, FermiNet
from qmcnet.compute.launch import launch
from qmcnet.compute.process import prepare_process
from qmcnet.compute.team import team
from qmcnet.optimizers.scores import score_operator

SMALL = {"n_layers": 2, "hidden_one": 48, "hidden_two": 12, "n_determinants": 4}
CASES: dict[str, tuple[str, int, dict[str, Any]]] = {
    "LiH quick": ("LiH", 512, SMALL),
    "C quick": ("C", 1024, SMALL),
    "N2 published": ("N2", 64, {}),
}
"""System, walkers and sizes of the network."""

GPU = {
    "flop/s, float32": 30e12,
    "flop/s, float64": 15e12,
    "bytes/s between GPUs of a node": 200e9,
    "bytes/s between nodes, for each GPU": 25e9,
    "seconds of a message": 20e-6,
    "GPUs of a node": 8,
}
"""What the table of GPUs assumes; no GPU has been measured."""


def timed(case: str, threads: int, steps: int) -> dict[str, float]:
    """Time steps as one of the processes of a run.

    Args:
        case: key of CASES.
        threads: of a single process.
        steps: number of steps timed.

    Returns:
        Median seconds of a step, and means of its parts, messages and bytes, as the first process has them.
    """
    prepare_process()
    torch.set_num_threads(threads)
    label, count, sizes = CASES[case]
    spent: defaultdict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        run = VMC(FermiNet(system(label), **sizes), folder, batch_size=count, device="cpu")
        stage: Any = run.trial()
        for _ in range(3):
            stage.advance()
        watch(spent, run)
        messages, sent, seconds = team().messages, team().bytes, []
        for _ in range(steps):
            start = time.perf_counter()
            stage.advance()
            seconds.append(time.perf_counter() - start)
    row = {"step": statistics.median(seconds)} | {part: total / steps for part, total in spent.items()}
    return row | {"messages": (team().messages - messages) / steps, "MB": (team().bytes - sent) / steps / 1e6}


def watch(spent: defaultdict[str, float], run: VMC) -> None:
    """Note what the parts of a step take.

    Args:
        spent: seconds by name; grows.
        run: whose parts are watched.
    """

    def clocked(part: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **keywords)
        spent[part] += time.perf_counter() - start
        return result

    run.simulation.log_prob = partial(clocked, "moves", run.simulation.log_prob)  # type: ignore[method-assign]
    run.simulation.states = partial(clocked, "energy", run.simulation.states)  # type: ignore[method-assign]
    run.optimizer.update = partial(clocked, "update", run.optimizer.update)  # type: ignore[method-assign]
    if team().size > 1:
        processes: Any = team()
        processes._call = partial(clocked, "wait", processes._call)


def compare(case: str, processes: int, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Let one process and several take turns.

    Args:
        case: key of CASES.
        processes: number of processes, and of threads of one.
        rounds: turns of each.
        steps: steps of a turn.

    Returns:
        A row for each contestant, medians over the rounds.
    """
    contestants = {
        "1 process": (1, 1),
        f"{processes} threads": (1, processes),
        f"{processes} processes": (processes, 1),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, (size, threads) in contestants.items():
            result, reason = launch(timed, (case, threads, steps), size)
            assert result, reason
            found[name].append(result)
    rows, figures = [], ("step", "moves", "energy", "update", "wait", "messages", "MB")
    for name, turns in found.items():
        row = {key: statistics.median(turn.get(key, 0.0) for turn in turns) for key in figures}
        gains = [turn["step"] / own["step"] for turn, own in zip(found["1 process"], turns, strict=True)]
        rows.append({"case": case, "contestant": name, **row, "gain": statistics.median(gains)})
    return rows


def numbers_per_walker(label: str) -> tuple[int, int]:
    """Count what two walkers need to meet, and the parameters.

    Args:
        label: a system, with the published network.

    Returns:
        Inputs and signals of all layers for a walker, and P.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = VMC(FermiNet(system(label)), folder, batch_size=4, device="cpu")
        operator = score_operator(run.ensemble, run.simulation.walkers.positions, 4)
    return sum(layer.inputs[0].numel() + layer.signals[0].numel() for layer in operator.layers), operator.n_parameters


def on_paper(label: str, gpus: int, walkers: int, messages: int) -> dict[str, Any]:
    """Estimate the parts of a step on GPUs.

    Args:
        label: a system, with the published network.
        gpus: their number.
        walkers: number of walkers.
        messages: of a step.

    Returns:
        Seconds of each part.
    """
    layers, n_parameters = numbers_per_walker(label)
    electrons = system(label).n_electrons
    per_walker = 27e9 / 64 * (n_parameters / 766_944) * 1.6  # flop of a local energy of N2, of moves and of scores
    single, double = GPU["flop/s, float32"], GPU["flop/s, float64"]
    bandwidth = GPU[
        "bytes/s between GPUs of a node" if gpus <= GPU["GPUs of a node"] else "bytes/s between nodes, for each GPU"
    ]
    received = {
        "inputs and signals": 4 * walkers * layers,
        "kernel": 4 * walkers**2,
        "direction": 2 * 4 * n_parameters,
        "walkers": walkers * (12 * electrons + 60),
    }
    return {
        "GPUs": gpus,
        "walkers": walkers,
        "moves, energies, scores": walkers / gpus * per_walker / single,
        "kernel, shared": walkers**2 * n_parameters / gpus / single,
        "Cholesky, repeated": walkers**3 / 3 / double,
        "latency": messages * GPU["seconds of a message"],
        **{f"send {name}": size / bandwidth for name, size in received.items()},
        "kernel, GB of each": 2 * 8 * walkers**2 / 1e9,
    }


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--paper", action="store_true", help="print the table of GPUs, and measure nothing")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.paper:
        print({**GPU, "network": "published, N2"})
        rows = [on_paper("N2", *size, 8) for size in ((8, 4096), (64, 4096), (64, 32768), (512, 32768))]
        print_table(rows)
    else:
        print(machine())
        how = (arguments.processes, arguments.rounds, arguments.steps)
        rows = [row for case in arguments.cases or CASES for row in compare(case, *how)]
        print_table(rows)
    store(arguments.json, rows=rows)


if __name__ == "__main__":
    main()
