"""How far do the presets come on a laptop, in how many minutes, and do they say so themselves?

Trains one system after the other with `qmcnet-train`, as a user would. Every run that ends adds a row to
`accuracy/results.csv` and its learning curve to `accuracy/curves/`; a run that is found there is not made again, and
one that was killed goes on where it stopped. Without systems to run, prints the tables: distances from the reference,
the slope c of error = c x variance, and how often the distance that a run states covers the true one.

    python benchmarks/accuracy.py [--preset quick] [--seeds 0 1] [--threads 1] [--folder outputs/accuracy] [SYSTEM ...]
"""

import argparse
import csv
import json
import math
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import print_table
from common import system as make
from figures import CHEMICAL_ACCURACY, read_csv, write_csv
from matplotlib import pyplot

from qmcnet.report.distance import measure
from qmcnet.states.slope import slope_of
from qmcnet.system.molecule import Molecule

HERE = Path(__file__).parent / "accuracy"
SYSTEMS: dict[str, list[str]] = {
    **{
        name: [f"+system={name}"]
        for name in ["Be", "B", "C", "N", "O", "F", "Ne", "LiH", "H2O", "CH4", "H10", "HF", "N2"]
    },
    "LiH far": ["+system=LiH", "bond_length=8"],
    "N2 far": ["+system=N2", "bond_length=4"],
    **{f"{name} ccecp": [f"+system={name}", "ecp=ccecp"] for name in ["Be", "Mg", "C", "N", "O", "Ne", "N2"]},
}
"""What is typed for each system."""
REFERENCES = {"LiH far": -7.98178, "N2 far": -109.202048, "H2O": -76.4403, "HF": -100.4614}
"""Hartree; where the package knows none itself. LiH: exact atoms and full CI of the valence electrons in aug-cc-pVQZ,
which binds by 3.7 mHa there. N2: the curve of Le Roy, Huang, Jary, J. Chem. Phys. 125, 164310 (2006). H2O, HF: CCSD(T)
of all electrons, with Hartree-Fock in cc-pV5Z and the correlation of cc-pCVTZ and cc-pCVQZ extrapolated by X^-3; of O
and F this lies 1.1 mHa below the exact energies."""
LEAST = 0.1
"""Millihartree; smallest distance that is drawn."""
POINTS = 60
"""Rows of a learning curve."""


def name_of(system: str, preset: str, seed: int) -> str:
    """Name a run.

    Args:
        system: key of SYSTEMS.
        preset: preset of qmcnet-train.
        seed: seed of the run.

    Returns:
        A file name.
    """
    return f"{system.replace(' ', '_')}-{preset}-{seed}"


def run(system: str, preset: str, seed: int, threads: int, folder: Path) -> dict[str, Any]:
    """Train one system, or continue.

    Args:
        system: key of SYSTEMS.
        preset: preset of qmcnet-train.
        seed: seed of the run.
        threads: CPU threads.
        folder: where run directories go.

    Returns:
        One row of the results.
    """
    directory = folder / name_of(system, preset, seed)
    code = "from qmcnet.cli.train import main; main()"
    typed = [*SYSTEMS[system], f"preset={preset}", f"seed={seed}", "device=cpu", f"hydra.run.dir={directory}"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    whole, before = not directory.exists(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, *typed], check=False, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found(directory, system, preset, seed, used if whole else math.nan)


def found(directory: Path, system: str, preset: str, seed: int, seconds: float = math.nan) -> dict[str, Any]:
    """Read what a finished run found, and keep its curve.

    Args:
        directory: run directory.
        system: key of SYSTEMS.
        preset: preset of qmcnet-train.
        seed: seed of the run.
        seconds: of the processor; nan where a killed process used some that are not known.

    Returns:
        One row of the results.
    """
    result = json.loads((directory / "result.json").read_text())
    keep_curve(directory, HERE / "curves" / f"{name_of(system, preset, seed)}.csv", result)
    reference = REFERENCES.get(system) or (result["reference"] or {}).get("energy", math.nan)
    distance = stated(result)
    return {
        "system": system,
        "preset": preset,
        "seed": seed,
        "threads": result["threads"],
        "processor": result["processor"],
        "samples": result["trained_steps"] * result["batch_size"],
        "minutes": result["wall_seconds"] / 60,
        "processor_minutes": seconds / 60,
        "energy": result["energy"] if result["energy"] is not None else math.nan,
        "error_mha": 1e3 * (result["standard_error"] or math.nan),
        "above_mha": 1e3 * ((result["energy"] or math.nan) - reference),
        "variance": result["typical_variance"],
        "stated_mha": 1e3 * distance.get("value", math.nan),
        "lower_mha": 1e3 * distance.get("lower", math.nan),
        "upper_mha": 1e3 * distance.get("upper", math.nan),
    }


def stated(result: Mapping[str, Any]) -> dict[str, float]:
    """Say how far a result is from the exact energy as this version does, whichever made it.

    Args:
        result: content of its file.

    Returns:
        Distance and the ends of its interval, in hartree; empty where nothing is known.
    """
    symbols = result["geometry"]["symbols"]
    how = {"charge": result["charge"], "spin": result["spin"], "ecp": result.get("ecp", {})}
    molecule = Molecule(symbols, result["geometry"]["bohr"], **how)
    evaluated = {name: math.nan if result[name] is None else result[name] for name in ("variance", "typical_variance")}
    evaluated |= {name: result[name] for name in ("energy", "standard_error")}
    distance = measure(result.get("optimization", {}), evaluated, result["trained_steps"], slope_of(molecule))
    return {} if distance is None else {name: getattr(distance, name) for name in ("value", "lower", "upper")}


def keep_curve(directory: Path, path: Path, result: Mapping[str, Any]) -> None:
    """Average the statistics of a training over a few dozen parts of equal length.

    Args:
        directory: run directory.
        path: file for the averages.
        result: of the run.
    """
    with (directory / "train_stats.csv").open(newline="") as file:
        rows = [{key: float(row[key]) for key in ("step", "energy", "variance")} for row in csv.DictReader(file)]
    pace = result["seconds_per_step"] or math.nan
    size = max(1, len(rows) // POINTS)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(
        path,
        [
            {
                "samples": part[-1]["step"] * result["batch_size"],
                "seconds": part[-1]["step"] * pace,
                "energy": statistics.fmean(row["energy"] for row in part),
                "energy_median": statistics.median(row["energy"] for row in part),
                "variance": statistics.median(row["variance"] for row in part),
            }
            for part in parts
        ],
    )


def slopes(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tabulate c of error = c x variance for each system.

    Args:
        rows: results.

    Returns:
        Rows of the table, weighted means over the runs of a system.
    """
    table = []
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system and math.isfinite(row["above_mha"])]
        if own:
            weights = [(row["variance"] / row["error_mha"]) ** 2 for row in own]
            values = [row["above_mha"] / 1e3 / row["variance"] for row in own]
            mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
            error, known = 1e-3 / math.sqrt(sum(weights)), slope_of(make(system.split()[0])).median
            row = {"system": system, "runs": len(own), "c": mean, "error": error}
            table.append(row | {"over expected": mean / known, "its error": error / known})
    return table


def draw(rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw energies above the reference and variances against samples.

    Args:
        rows: results.
    """
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5))
    for row in rows:
        curve = read_csv(HERE / "curves" / f"{name_of(row['system'], row['preset'], int(row['seed']))}.csv")[1:]
        samples, reference = [point["samples"] for point in curve], row["energy"] - row["above_mha"] / 1e3
        above = [max(1e3 * (point["energy_median"] - reference), LEAST) for point in curve]
        label = f"{row['system']}, {row['preset']}"
        panels[0].loglog(samples, above, linewidth=1, label=label)
        panels[1].loglog(samples, [point["variance"] for point in curve], linewidth=1, label=label)
    panels[0].axhline(CHEMICAL_ACCURACY, color="grey", linewidth=0.8, linestyle="--")
    panels[0].set(xlabel="samples", ylabel="median energy above the reference / mHa")
    panels[1].set(xlabel="samples", ylabel="variance / hartree$^2$")
    panels[1].legend(fontsize=7, ncols=2)
    figure.tight_layout()
    figure.savefig(HERE / "curves.png", dpi=110)


def report() -> None:
    """Print what is known so far."""
    rows = read_csv(HERE / "results.csv")
    draw(rows)
    print_table(rows)
    print_table(slopes(rows))
    known = [row for row in rows if math.isfinite(row["above_mha"]) and math.isfinite(row["stated_mha"])]
    covered = [
        row["lower_mha"] - row["error_mha"] <= row["above_mha"] <= row["upper_mha"] + row["error_mha"] for row in known
    ]
    print(f"the stated interval covers the true distance in {sum(covered)} of {len(known)} runs")


def main() -> None:
    """Run what is missing, or print what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("outputs/accuracy"))
    parser.add_argument("systems", nargs="*", choices=[[], *SYSTEMS], default=[])
    arguments = parser.parse_args()
    path = HERE / "results.csv"
    for seed in arguments.seeds:
        for system in arguments.systems:
            rows = read_csv(path) if path.exists() else []
            made = {(row["system"], row["preset"], int(row["seed"])) for row in rows}
            if (system, arguments.preset, seed) not in made:
                row = run(system, arguments.preset, seed, arguments.threads, arguments.folder)
                path.parent.mkdir(exist_ok=True)
                write_csv(path, [*(read_csv(path) if path.exists() else []), row])
    report()


if __name__ == "__main__":
    main()
