"""How far above the exact energy is each package after 5 and 15 minutes of one core, with the settings of its own?

Every minute of the processor counts from the start of the process on: imports, compiling, Hartree-Fock, pretraining
and burn-in too. ferminet and jaqmc train with the network, optimiser, learning rates and sampler that they choose by
themselves, and with the walkers and steps of pretraining that their instructions give for small systems on small
machines: 256 and 100 in the README of ferminet; 256 or 512, and 100, in "Fast debug run" and "Molecules" of jaqmc.
Without these they would take 4096 walkers, and 1000 and 2000 steps of pretraining.
Their learning rates do not know when the race ends, so both times are read off one run. That of qmcnet does, which
therefore makes one run of `preset=quick` for each time, without evaluation, of as many steps as fit: they are typed,
since they depend on the machine. Energies are means over the last fifth of the steps.

Every package runs by the interpreter given for it and is skipped with a message where there is none. A result in
`race/results.csv` is not made again; what was measured lies in the folder. `peers.py` says how to install the others.

    python benchmarks/race.py --ferminet PYTHON --jaqmc PYTHON [--systems LiH C]
    python benchmarks/race.py --systems LiH --steps 5:1200 15:4000
"""

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from common import print_table
from common import system as build
from contestant import WORKERS, importable
from figures import read_csv, write_csv

RESULTS = Path(__file__).parent / "race" / "results.csv"
EXACT = {"LiH": -8.070548, "C": -37.8450}
"""Hartree. LiH 3.015 bohr: Cencek and Rychlewski, Chem. Phys. Lett. 320, 549 (2000); C: Chakravorty et al., Phys. Rev.
A 47, 3649 (1993)."""
PEERS = ("ferminet", "jaqmc")
WALKERS, PRETRAINING = 256, 100
"""Of the peers."""
BLOCKS = 10
"""Of the averaged steps, for the standard error."""

Rows = Sequence[Mapping[str, Any]]


def order(system: str, minutes: float, core: int) -> dict[str, Any]:
    """Write down what a worker is to do.

    Args:
        system: its name.
        minutes: processor time after which it ends.
        core: on which it runs.

    Returns:
        The order.
    """
    molecule = build(system)
    return {
        "symbols": molecule.symbols,
        "coordinates": molecule.coordinates,
        "n_up": molecule.n_up,
        "n_down": molecule.n_down,
        "walkers": WALKERS,
        "pretraining": PRETRAINING,
        "seconds": 60 * minutes,
        "cores": [core],
        "threads": 1,
    }


def curve(package: str, python: str, spec: Mapping[str, Any], path: Path) -> Rows:
    """Train with a peer until its time is used up, unless that was done before.

    Args:
        package: which one.
        python: its interpreter.
        spec: the order.
        path: file for the rows, beside which its messages go.

    Returns:
        A row for each step: processor_seconds, step, energy, variance.
    """
    rows, log = read_csv(path) if path.exists() else [], path.with_suffix(".log")
    if not rows or rows[-1]["processor_seconds"] < spec["seconds"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        interpreter = str(Path(shutil.which(python) or python).absolute())
        command = [interpreter, str(WORKERS / f"race_{package}.py"), json.dumps(spec)]
        print(f"{path.stem}: {spec['seconds'] / 60:g} minutes of the processor", flush=True)
        with tempfile.TemporaryDirectory() as folder, path.open("w") as table, log.open("w") as messages:
            subprocess.run(command, check=False, stdout=table, stderr=messages, cwd=folder)
        rows = read_csv(path)
    if not rows or rows[-1]["processor_seconds"] < spec["seconds"]:
        print(f"{path.stem} ended early: see {log}")
    return rows


def average(rows: Rows, system: str) -> dict[str, Any]:
    """Average the energy over the last fifth of the steps.

    Args:
        rows: of all steps.
        system: its name.

    Returns:
        Number of steps, energy, its distance from the exact one and the standard error of both; nan without steps.
    """
    energies = [float(row["energy"]) for row in rows[-max(1, len(rows) // 5) :]]
    size = max(1, len(energies) // BLOCKS)
    blocks = [statistics.fmean(energies[i : i + size]) for i in range(0, len(energies) - size + 1, size)]
    energy = statistics.fmean(energies) if energies else math.nan
    error = statistics.stdev(blocks) / math.sqrt(len(blocks)) if len(blocks) > 1 else math.nan
    above = 1e3 * (energy - EXACT[system])
    return {"steps": len(rows), "energy": energy, "above_mha": above, "error_mha": 1e3 * error}


def judge(rows: Rows, package: str, system: str, minutes: float) -> dict[str, Any]:
    """Say what a peer has reached at a time.

    Args:
        rows: of all its steps.
        package: which one.
        system: its name.
        minutes: the time.

    Returns:
        A row of the results. The first step counts as begun one median step before its end, after it was compiled.
    """
    done = [row for row in rows if row["processor_seconds"] <= 60 * minutes]
    times = [float(row["processor_seconds"]) for row in done]
    pace = statistics.median(b - a for a, b in pairwise(times)) if len(times) > 1 else math.nan
    used = times[-1] if times else math.nan
    row = {"package": package, "system": system, "walkers": WALKERS, "minutes": minutes, "used_minutes": used / 60}
    row |= average(done, system)
    return row | {"seconds_a_step": pace, "before_first_step": (times[0] - pace) / (60 * minutes) if times else 1.0}


def own(system: str, minutes: float, steps: int, folder: Path) -> dict[str, Any]:
    """Train with qmcnet.

    Args:
        system: its name.
        minutes: the time that the steps are meant to take.
        steps: of the optimisation.
        folder: where the run directory goes.

    Returns:
        A row of the results, with the processor time that the run took.

    Raises:
        SystemExit: the run directory exists, with a run that took an unknown time.
    """
    directory = (folder / f"qmcnet-{system}-{minutes:g}").resolve()
    if directory.exists():
        raise SystemExit(f"{directory} exists, but no result in {RESULTS}: remove it")
    typed = [f"+system={system}", "preset=quick", f"steps={steps}", "evaluation.steps=0", "device=cpu"]
    code, before = "from qmcnet.cli.train import main; main()", resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, *typed, f"hydra.run.dir={directory}"]
    subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows, result = read_csv(directory / "train_stats.csv"), json.loads((directory / "result.json").read_text())
    pace = result["seconds_per_step"] * used / result["wall_seconds"]
    row = {"package": "qmcnet", "system": system, "walkers": result["batch_size"], "minutes": minutes}
    row |= {"used_minutes": used / 60} | average(rows, system)
    return row | {"seconds_a_step": pace, "before_first_step": 1 - pace * len(rows) / used}


def known() -> list[dict[str, Any]]:
    """Read the results.

    Returns:
        Their rows.
    """
    return read_csv(RESULTS) if RESULTS.exists() else []


def missing(package: str, system: str, minutes: Sequence[float]) -> list[float]:
    """Tell for which times there is no result.

    Args:
        package: which one.
        system: its name.
        minutes: the times.

    Returns:
        Those that are missing.
    """
    made = {(row["package"], row["system"], row["minutes"]) for row in known()}
    return [time for time in minutes if (package, system, time) not in made]


def keep(rows: Rows) -> None:
    """Add rows to the results.

    Args:
        rows: the new ones.
    """
    RESULTS.parent.mkdir(exist_ok=True)
    if rows:
        write_csv(RESULTS, [*known(), *rows])


def parse() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments, with the steps of qmcnet by time.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for package in PEERS:
        parser.add_argument(f"--{package}", metavar="PYTHON", help=f"interpreter that can import {package}")
    parser.add_argument("--systems", nargs="+", choices=EXACT, default=list(EXACT))
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 15], help="of the peers")
    parser.add_argument("--steps", nargs="+", default=[], metavar="MINUTES:STEPS", help="of qmcnet in these minutes")
    parser.add_argument("--core", type=int, default=0, help="on which all run")
    parser.add_argument("--folder", type=Path, default=Path("outputs/race"))
    return parser.parse_args()


def main() -> None:
    """Run what is missing, and print what is there."""
    arguments = parse()
    os.sched_setaffinity(0, [arguments.core])
    pythons = {package: getattr(arguments, package) for package in PEERS}
    for package in [package for package, python in pythons.items() if not python]:
        print(f"{package} skipped: no interpreter given with --{package}")
    pythons = {package: python for package, python in pythons.items() if python and importable(python, package)}
    for package, system in [(package, system) for package in pythons for system in arguments.systems]:
        if times := missing(package, system, arguments.minutes):
            path = arguments.folder / f"{package}-{system}.csv"
            rows = curve(package, pythons[package], order(system, max(times), arguments.core), path)
            reached = [time for time in times if rows and rows[-1]["processor_seconds"] >= 60 * time]
            keep([judge(rows, package, system, time) for time in reached])
    plan = {float(minutes): int(steps) for minutes, steps in (entry.split(":") for entry in arguments.steps)}
    for system in arguments.systems:
        for time in missing("qmcnet", system, list(plan)):
            keep([own(system, time, plan[time], arguments.folder)])
    print_table(known())


if __name__ == "__main__":
    main()
