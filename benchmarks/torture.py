"""Runs that are killed, damaged and starved of disk space: does the same command end with the same numbers?

    python benchmarks/torture.py --kills 50 --json torture.json

Kills: runs of one and two states with SPRING and KFAC, each killed with SIGKILL at random instants, once to three
times, and then continued, have to end with every row, figure and tensor of a run that was left alone.
Damages: eight damages of five files of a finished run; the same command either ends with the same energy, or answers in
one line that names the file.
Disk: the process may write no file larger than a limit, as on a disk that is full; once the limit is gone the same
command has to end with the same numbers.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from common import store

from qmcnet.cli import train
from qmcnet.run.checkpoint import Checkpoints

COMMON = [
    "+system=H2",
    "device=cpu",
    "dtype=float64",
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=16",
    "pretraining.steps=20",
    "pretraining.basis=sto-3g",
    "burn_in.min_sweeps=15",
    "burn_in.max_sweeps=15",
    "steps=20",
    "evaluation.steps=60",
    "evaluation.burn_in=5",
    "logging.every=3",
    "checkpoints.seconds=0.05",
]
KINDS = {
    f"{states} state{'s' if states > 1 else ''}, {optimizer}": [f"states={states}", f"optimizer={optimizer}"]
    for states in (1, 2)
    for optimizer in ("spring", "kfac")
}
LIMITS = [2_000, 8_000, 20_000, 40_000, 80_000]
"""Bytes that a file may have: less than a configuration, a checkpoint, a checkpoint of a later stage."""


def command(arguments: Sequence[str], directory: Path, log: Path, limit: int | None) -> None:
    """Be a process that was started by `qmcnet-train`."""
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    torch.set_num_threads(1)
    sys.argv = ["qmcnet-train", *COMMON, *arguments, f"hydra.run.dir={directory}"]
    train.main()


def start(arguments: Sequence[str], directory: Path, limit: int | None = None) -> Any:
    """Start a command in a fork of this process, which has paid for the imports.

    Args:
        arguments: what is typed besides.
        directory: the run directory.
        limit: bytes that a file may have.

    Returns:
        The process.
    """
    log = directory.with_suffix(".log")
    process = multiprocessing.get_context("fork").Process(target=command, args=(arguments, directory, log, limit))
    process.start()
    return process


def finish(arguments: Sequence[str], directory: Path, limit: int | None = None) -> tuple[int, str]:
    """Run a command to its end.

    Args:
        arguments: what is typed besides.
        directory: the run directory.
        limit: bytes that a file may have.

    Returns:
        Its exit status, and what it printed.
    """
    log = directory.with_suffix(".log")
    log.unlink(missing_ok=True)
    process = start(arguments, directory, limit)
    process.join()
    return int(process.exitcode), log.read_text(errors="replace")


def content(directory: Path) -> dict[str, Any]:
    """Read all numbers that a run ends with.

    Args:
        directory: the run directory.

    Returns:
        Tables, result and newest checkpoint; times left out.
    """
    tables: dict[str, Any] = {
        str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*_stats.csv")
    }
    result = json.loads((directory / "result.json").read_text())
    found = Checkpoints(directory / "checkpoints", 1).load_newest()
    state = found.state if found else {}
    for part in (result, state):
        part.pop("wall_seconds", None)
    return {**tables, "result": result, "state": state}


def same(first: Any, second: Any) -> bool:
    """Tell whether two nested states are equal to the last bit.

    Args:
        first: one state.
        second: another one.

    Returns:
        Whether they are.
    """
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def kill(arguments: Sequence[str], directory: Path, seconds: float, rng: random.Random) -> list[str]:
    """Kill a run one to three times and run it to its end.

    Args:
        arguments: what is typed besides.
        directory: the run directory.
        seconds: how long the run takes when left alone.
        rng: says when.

    Returns:
        The newest checkpoint after each kill.
    """
    places = []
    for _ in range(rng.randint(1, 3)):
        process = start(arguments, directory)
        time.sleep(rng.uniform(0.0, seconds))
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        found = sorted(path.stem for path in (directory / "checkpoints").glob("[0-9]*.pt"))
        places.append(found[-1].split("-")[2] if found else "start")
    finish(arguments, directory)
    return places


def killed_runs(folder: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Kill runs of every kind.

    Args:
        folder: where they go.
        count: how many.
        seed: of the instants.

    Returns:
        A row for each.
    """
    rng, rows, wholes, seconds = random.Random(seed), [], {}, {}
    for kind, arguments in KINDS.items():
        begun = time.perf_counter()
        finish(arguments, folder / f"whole {kind}")
        wholes[kind], seconds[kind] = content(folder / f"whole {kind}"), time.perf_counter() - begun
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        directory = folder / f"killed {number}"
        places = kill(KINDS[kind], directory, seconds[kind], rng)
        rows.append({"kind": kind, "places": places, "identical": same(content(directory), wholes[kind])})
        print(f"{number + 1:3d} {kind}: killed in {', '.join(places)}: {rows[-1]['identical']}", flush=True)
    return rows


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def as_directory(path: Path) -> None:
    """Put a directory in place of a file."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a list": lambda path: path.write_text("[1, 2]"),
    "other keys": lambda path: path.write_text('{"a": 1}'),
    "a bit flipped": flip,
    "a directory": as_directory,
}
FILES = ["config.yaml", "train_stats.csv", "result.json", "newest checkpoint", "evaluation/evaluation_stats.csv"]


def damaged_runs(folder: Path) -> list[dict[str, Any]]:
    """Damage files of a finished run and extend it.

    Args:
        folder: where the runs go.

    Returns:
        A row for each damage.
    """
    arguments, whole = next(iter(KINDS.values())), folder / "whole"
    finish(arguments, whole)
    longer = [*arguments, "evaluation.steps=80"]
    shutil.copytree(whole, folder / "longer")
    finish(longer, folder / "longer")
    energy, rows = content(folder / "longer")["result"]["energy"], list[dict[str, Any]]()
    if energy is None:
        sys.exit("the run that was left alone has no energy to compare with")
    for file in FILES:
        for damage, apply in DAMAGES.items():
            directory = Path(shutil.copytree(whole, folder / f"{file.replace('/', ' ')} {damage}"))
            path = max((directory / "checkpoints").glob("*.pt")) if file.startswith("newest") else directory / file
            apply(path)
            status, printed = finish(longer, directory)
            same_energy = status == 0 and json.loads((directory / "result.json").read_text())["energy"] == energy
            lines = [line for line in printed.splitlines() if line.startswith("error: ")]
            named = status == 1 and len(lines) == 1 and path.name in lines[0]
            outcome = "same energy" if same_energy else "named" if named else "wrong"
            rows.append({"file": file, "damage": damage, "outcome": "wrong" if "Traceback" in printed else outcome})
            print(f"{file}, {damage}: {rows[-1]['outcome']}", flush=True)
    return rows


def full_disks(folder: Path) -> list[dict[str, Any]]:
    """Let runs hit a limit of the size of files.

    Args:
        folder: where they go.

    Returns:
        A row for each limit.
    """
    arguments, rows = next(iter(KINDS.values())), []
    finish(arguments, folder / "unlimited")
    whole = content(folder / "unlimited")
    for limit in LIMITS:
        directory = folder / f"limit {limit}"
        status, printed = finish(arguments, directory, limit)
        errors = [line for line in printed.splitlines() if "error" in line.lower()]
        named = status == 0 or (status == 1 and len(errors) == 1 and "Traceback" not in printed)
        finish(arguments, directory)
        rows.append({"limit": limit, "status": status, "named": named, "identical": same(content(directory), whole)})
        print(f"limit {limit}: {rows[-1]} {errors}", flush=True)
    return rows


def main() -> None:
    """Do all three and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="runs to kill")
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants")
    parser.add_argument("--json", type=Path, help="file for the rows")
    options = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills = killed_runs(folder, options.kills, options.seed)
        damages, disks = damaged_runs(folder), full_disks(folder)
    store(options.json, kills=kills, damages=damages, disks=disks)
    print(f"\n| what | tried | as promised |\n|---|---|---|\n| killed, one to three times | {len(kills)} | ", end="")
    print(f"{sum(row['identical'] for row in kills)} end bit for bit the same |")
    for outcome in ("same energy", "named", "wrong"):
        print(f"| damaged, {outcome} | {len(damages)} | {sum(row['outcome'] == outcome for row in damages)} |")
    print(f"| full disks | {len(disks)} | {sum(row['named'] and row['identical'] for row in disks)} |")
    print(f"\n{time.perf_counter() - begun:.0f} s")
    wrong = [row for row in kills if not row["identical"]] + [row for row in damages if row["outcome"] == "wrong"]
    sys.exit(1 if wrong or not all(row["named"] and row["identical"] for row in disks) else 0)


if __name__ == "__main__":
    main()
