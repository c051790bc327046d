"""What does diffusion Monte Carlo make of trained wavefunctions, in how many minutes, and with how many walkers?

Continues run directories by `qmcnet-dmc`, as a user would: those that `accuracy.py` or `classical` below left. Every
one that ends adds a row to `diffusion/results.csv`; one that is found there is not made again, and one that was killed
goes on where it stopped. Without directories, prints the table.

    python benchmarks/diffusion.py [--timesteps 0.02 0.01] [--target-error 1e-3] [--walkers N] [--single] [RUN ...]
    python benchmarks/diffusion.py --train He Be LiH Ne --folder outputs/classical   # Slater-Jastrow wavefunctions
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from accuracy import REFERENCES
from common import print_table
from figures import read_csv, write_csv

HERE = Path(__file__).parent / "diffusion"
CLASSICAL = [
    "ansatz=slater_jastrow",
    "ansatz.jastrow=neural",
    "ansatz.basis=cc-pvqz",
    "pretraining.steps=0",
    "batch_size=512",
    "steps=400",
    "sampler=local",
    "schedule=annealed",
    "evaluation.steps=1500",
    "evaluation.target_error=5e-4",
]
"""Determinants of restricted Hartree-Fock, whose nodes stay as they are, under a trained Jastrow factor."""
FAR_HELIUM = ["+system=atoms", "system.atoms=[[He,0,0,0],[He,0,0,20]]"]
"""Two helium atoms, whose energy is to be twice that of one."""


def call(command: str, typed: list[str], threads: int) -> float:
    """Run a command of the package.

    Args:
        command: "train" or "dmc".
        typed: its arguments.
        threads: CPU threads.

    Returns:
        Seconds of the processor that it used.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = f"from qmcnet.cli.{command} import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-c", code, *typed, "device=cpu"], check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def typed_for(arguments: argparse.Namespace) -> list[str]:
    """Translate the arguments of this benchmark.

    Args:
        arguments: of the command line.

    Returns:
        Those of qmcnet-dmc.
    """
    timesteps = ",".join(map(str, arguments.timesteps))
    typed = [f"timesteps=[{timesteps}]", f"target_error={arguments.target_error}", f"steps={arguments.steps}"]
    typed += [f"walkers={arguments.walkers}"] * bool(arguments.walkers)
    return typed + ["single_electron=true"] * arguments.single


def diffuse(directory: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Diffuse from a run, or continue.

    Args:
        directory: run directory.
        arguments: of the command line.

    Returns:
        One row of the results.
    """
    before = set((directory / "dmc").glob("*/result.json"))
    seconds = call("dmc", [f"run={directory}", *typed_for(arguments)], arguments.threads)
    made = set((directory / "dmc").glob("*/result.json"))
    path = max(made - before or made, key=lambda each: each.stat().st_mtime)
    return row(directory, json.loads(path.read_text()), seconds, arguments)


def row(directory: Path, found: dict[str, Any], seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """Read what was found.

    Args:
        directory: run directory.
        found: content of the result.
        seconds: of the processor.
        arguments: of the command line.

    Returns:
        One row of the results; energies above the reference and errors in millihartree.
    """
    system = directory.name.split("-")[0].replace("_", " ")
    reference = REFERENCES.get(system) or (found["reference"] or {}).get("energy", math.nan)
    own, last = found["variational"], found["points"][-1]
    vmc = own["energy"] if own["energy"] is not None else math.nan
    return {
        "run": directory.name,
        "timesteps": " ".join(f"{point['timestep']:g}" for point in found["points"]),
        "moves": "one by one" if arguments.single else "together",
        "walkers": found["walkers"],
        "vmc_above": 1e3 * (vmc - reference),
        "vmc_error": 1e3 * (own["standard_error"] or math.nan),
        "energies": " ".join(
            f"{point['energy']:.5f}({1e5 * point['standard_error']:.0f})" for point in found["points"]
        ),
        "energy": found["energy"],
        "above": 1e3 * (found["energy"] - reference),
        "error": 1e3 * found["standard_error"],
        "chi2": found["chi2"],
        "accepted": last["accepted"],
        "generations": sum(point["generations"] for point in found["points"]),
        "processor_minutes": seconds / 60,
    }


def known(directory: Path, arguments: argparse.Namespace) -> bool:
    """Tell whether a run was made before."""
    times = " ".join(f"{each:g}" for each in sorted(arguments.timesteps, reverse=True))
    wanted = (directory.name, times, "one by one" if arguments.single else "together")
    rows = read_csv(HERE / "results.csv") if (HERE / "results.csv").exists() else []
    return any(
        (each["run"], str(each["timesteps"]), each["moves"]) == wanted
        and arguments.walkers in (None, int(each["walkers"]))
        for each in rows
    )


def report() -> None:
    """Print what is known so far."""
    print_table(read_csv(HERE / "results.csv"))


def main() -> None:
    """Run what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timesteps", type=float, nargs="+", default=[0.02, 0.01])
    parser.add_argument("--target-error", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=40000)
    parser.add_argument("--walkers", type=int)
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--train", nargs="+", default=[], metavar="SYSTEM")
    parser.add_argument("--preset", help="of the wavefunctions that --train makes, in place of the classical ones")
    parser.add_argument("--folder", type=Path, default=Path("outputs/classical"))
    parser.add_argument("runs", nargs="*", type=Path)
    arguments = parser.parse_args()
    for system in arguments.train:
        directory = arguments.folder / f"{system}-{arguments.preset or 'classical'}-0"
        how = [f"preset={arguments.preset}", "evaluation.target_error=1e-4"] if arguments.preset else CLASSICAL
        what = FAR_HELIUM if system == "He2" else [f"+system={system}"]
        call("train", [*what, *how, f"hydra.run.dir={directory}"], arguments.threads)
        arguments.runs.append(directory)
    path = HERE / "results.csv"
    path.parent.mkdir(exist_ok=True)
    for directory in [each for each in arguments.runs if not known(each, arguments)]:
        write_csv(path, [*(read_csv(path) if path.exists() else []), diffuse(directory, arguments)])
    report()


if __name__ == "__main__":
    main()
