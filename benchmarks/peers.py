"""How long does the same work take in qmcnet and in the JAX packages, on the same core, side by side?

Each package is run by the Python interpreter given for it and skipped with a message where there is none; qmcnet runs
in the current one. All contestants of a work are processes that live through it, pinned to the same cores. After
compiling and warming up they are asked in turn for one timed evaluation, so that a drift of the machine hits all.
`first_step` is the wall time of a cold process: for qmcnet the whole `qmcnet-train` with one step, for the others from
the start of the process to the end of their first iteration, without any burn-in or file. `diffusion` are twenty
generations of diffusion Monte Carlo with Hartree-Fock orbitals in cc-pVDZ and a Jastrow factor, all electrons of a
walker together or one by one; pyqmc (0.8.1 was used here) joins in there alone. `core_energy` is a local energy with
core potentials (ccECP) of all nuclei, by the rule that is the default of each: 12 directions, or 6 here; ferminet is
not asked, since it takes the nearest nucleus alone. Processor seconds stand beside those of the clock: where they
differ, other processes had the core as well, and the ratios are not to be kept.

The packages live in an environment of their own, with Python 3.12 for jaqmc and deepqmc; `pip install jax==0.8.3
folx==0.2.30 kfac-jax==0.0.8 deepqmc` and checkouts of google-deepmind/ferminet and bytedance/jaqmc were used here.

    python benchmarks/peers.py --ferminet PYTHON --jaqmc PYTHON --deepqmc PYTHON --pyqmc PYTHON
        [--works local_energy/N2 first_step]
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from common import machine
from common import system as build
from contestant import Contestant, importable

from qmcnet.system.elements import atomic_number
from qmcnet.system.molecule import Molecule

SAMPLES_OF_FIRST_STEP = 3
INNER = {"log_psi": 10, "local_energy": 3, "psiformer": 2, "iteration": 3}
"""Evaluations averaged in one timing: the first after a rest finds cold caches."""

ECP = "ccecp"
PEERS = ("ferminet", "jaqmc", "deepqmc", "pyqmc")
PARAMETERS = {"LiH": 683_744, "N2": 766_944, "CH4": 744_800, "C6H6": 1_057_504, "core_energy/N2": 733_664}
"""Parameters of FermiNet, 4 layers of 256/32 and 16 full determinants, by system, or work and system."""

WORKS = {
    "log_psi": {"LiH": 256, "N2": 64, "CH4": 64, "C6H6": 8},
    "local_energy": {"LiH": 256, "N2": 64, "CH4": 64, "C6H6": 8},
    "core_energy": {"N2": 64},
    "psiformer": {"N2": 64},
    "iteration": {"LiH": 256, "N2": 64},
    "first_step": {"N2": 64},
    "diffusion": {"LiH": 256, "Ne": 256, "N2": 256},
}
"""Systems of each work, with their walkers."""

ENERGIES = {
    "qmcnet": ["eager", "compiled"],
    "ferminet": ["default", "folx"],
    "jaqmc": ["forward"],
    "deepqmc": ["qc", "forward"],
}
VARIANTS = {work: ENERGIES for work in WORKS} | {
    "log_psi": {"qmcnet": ENERGIES["qmcnet"], "ferminet": ["default"], "jaqmc": ["forward"], "deepqmc": ["qc"]},
    "core_energy": {"qmcnet": ["eager"], "jaqmc": ["forward"], "deepqmc": ["forward"]},
    "iteration": ENERGIES | {"jaqmc": ["kfac", "sr"]},
    "first_step": ENERGIES | {"qmcnet": ["eager"]},
    "diffusion": {"qmcnet": ["together", "one_by_one"], "pyqmc": ["one_by_one"]},
}
"""Contestants of each work: package and how it differentiates, or optimises where it knows several optimisers."""


def order(work: str, system: str, molecule: Molecule, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write down what a worker is to do.

    Args:
        work: key of WORKS.
        system: its name.
        molecule: the system.
        arguments: of the command line.

    Returns:
        The order.
    """
    return {
        "work": work,
        "system": system,
        "symbols": molecule.symbols,
        "numbers": [atomic_number(symbol) for symbol in molecule.symbols],
        "ecp": ECP if molecule.ecp else None,
        "charges": [round(charge) for charge in molecule.charges.tolist()],
        "coordinates": molecule.coordinates,
        "n_up": molecule.n_up,
        "n_down": molecule.n_down,
        "walkers": WORKS[work][system],
        "cores": arguments.cores,
        "threads": arguments.threads,
        "inner": INNER.get(work, 1),
    }


def check_parameters(work: str, system: str, name: str, found: int) -> None:
    """Refuse to compare different networks.

    Args:
        work: key of WORKS.
        system: its name.
        name: name of the contestant.
        found: parameters of its network.

    Raises:
        SystemExit: the network is not the agreed one.
    """
    agreed = PARAMETERS.get(f"{work}/{system}", PARAMETERS.get(system))
    if work not in ("psiformer", "diffusion") and found != agreed:
        raise SystemExit(f"{name} has {found} parameters for {system}, not {agreed}")


def side_by_side(work: str, system: str, pythons: dict[str, str], spec: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Time all contestants of a work in turn.

    Args:
        work: key of WORKS.
        system: its name.
        pythons: interpreters of the packages.
        spec: the order.
        repeats: rounds.

    Returns:
        By contestant: seconds, parameters, mean value and seconds of the first evaluation.
    """
    contestants: list[Contestant] = []
    rows: dict[str, Any] = {}
    try:
        for package, variant in [(p, v) for p, variants in VARIANTS[work].items() for v in variants if p in pythons]:
            contestants.append(contestant := Contestant(pythons[package], package, variant, spec))
            if (ready := contestant.receive()) is None:
                contestants.pop().end()
                continue
            check_parameters(work, system, contestant.name, ready["parameters"])
            rows[contestant.name] = ready | {"seconds": [], "cpu_seconds": []}
        for turn in range(repeats):
            for i in range(len(contestants)):
                contestant = contestants[(i + turn) % len(contestants)]
                for kind, value in zip(("seconds", "cpu_seconds"), contestant.measure(), strict=True):
                    rows[contestant.name][kind].append(value)
    finally:
        for contestant in contestants:
            contestant.end()
    return rows


def cold_starts(pythons: dict[str, str], spec: dict[str, Any], samples: int) -> dict[str, Any]:
    """Time the first training step from the start of the process.

    Args:
        pythons: interpreters of the packages.
        spec: the order.
        samples: processes of each contestant.

    Returns:
        By contestant: seconds of each sample.
    """
    rows: dict[str, Any] = {}
    for _ in range(samples):
        for package, variant in [(p, v) for p, variants in VARIANTS["first_step"].items() for v in variants]:
            if package not in pythons:
                continue
            contestant = Contestant(pythons[package], package, variant, spec)
            message = contestant.receive()
            seconds = time.perf_counter() - contestant.start
            contestant.end()
            if message is not None:
                rows.setdefault(contestant.name, {"seconds": []})["seconds"].append(seconds)
    return rows


def show(title: str, rows: dict[str, Any]) -> dict[str, Any]:
    """Print the table of one work and add medians and ratios.

    Args:
        title: work, system and walkers.
        rows: seconds by contestant.

    Returns:
        Rows with their medians, and how much longer the best peer takes than qmcnet.
    """
    columns = {"median / s": 12, "cpu / s": 10, "min": 10, "max": 10, "/ eager": 10, "first / s": 11, "parameters": 12}
    print(f"\n{title}\n{'':22}" + "".join(f"{column:>{width}}" for column, width in columns.items()))
    medians = {name: statistics.median(row["seconds"]) for name, row in rows.items()}
    peers = [median for name, median in medians.items() if not name.startswith("qmcnet")]
    ours = {name: median for name, median in medians.items() if name.startswith("qmcnet")}
    for name, row in rows.items():
        ratio = f"{medians[name] / medians['qmcnet/eager']:.2f}" if "qmcnet/eager" in ours else ""
        cpu = statistics.median(row.get("cpu_seconds", [math.nan]))
        print(
            f"{name:22}{medians[name]:12.4f}{cpu:10.4f}{min(row['seconds']):10.4f}{max(row['seconds']):10.4f}{ratio:>10}"
            f"{row.get('warm_up', math.nan):11.2f}{row.get('parameters', ''):>12}"
        )
    ratios = {name: min(peers) / median for name, median in ours.items()} if peers else {}
    print(*(f"best peer / {name}: {ratio:.2f}" for name, ratio in ratios.items()), sep="\n", flush=True)
    return {
        "contestants": {name: row | {"median": medians[name]} for name, row in rows.items()},
        "best_peer_over": ratios,
    }


def parse() -> argparse.Namespace:
    """Read the command line.

    Returns:
        The arguments.
    """
    names = [name for work, found in WORKS.items() for name in (work, *(f"{work}/{system}" for system in found))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for package in PEERS:
        parser.add_argument(f"--{package}", metavar="PYTHON", help=f"interpreter that can import {package}")
    parser.add_argument("--works", nargs="+", choices=names, default=list(WORKS), metavar="WORK", help=", ".join(names))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cores", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("peers.json"))
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    arguments = parse()
    given = {package: getattr(arguments, package) for package in PEERS}
    for package in [package for package, python in given.items() if not python]:
        print(f"{package} skipped: no interpreter given with --{package}")
    found = {package: python for package, python in given.items() if python and importable(python, package)}
    pythons = {"qmcnet": sys.executable} | found
    where = machine() | {"cores": arguments.cores, "threads": arguments.threads}
    report: dict[str, Any] = {"machine": where, "works": {}}
    print(json.dumps(where))
    for name in ("CH4", "C6H6"):
        print(f"\n{build(name).summary()}")
    for work, system in [(work, system) for work, found in WORKS.items() for system in found]:
        if not {work, f"{work}/{system}"} & set(arguments.works):
            continue
        molecule = build(system)
        spec = order(work, system, molecule.with_ecp(ECP) if work == "core_energy" else molecule, arguments)
        if work == "first_step":
            rows = cold_starts(pythons, spec, min(arguments.repeats, SAMPLES_OF_FIRST_STEP))
        else:
            rows = side_by_side(work, system, pythons, spec, arguments.repeats)
        report["works"][f"{work}/{system}"] = show(f"{work}, {system} x {spec['walkers']}", rows)
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
