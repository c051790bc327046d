"""Does `preset=quick` reach the known energies on a CPU, in how many minutes, and is the error bar honest?

Runs `qmcnet-train` as a user would, from process start to result, for one system after the other; prints a table,
writes JSON, and exits with status 1 when an energy misses its reference on either side. With --optimizers it compares
all optimisers on small systems instead: those of first order may stay above.

    python benchmarks/energies.py [--threads 2] [--output energies.json] [SYSTEM ...]
    python benchmarks/energies.py --optimizers spring minsr prime_sr kfac adam lamb -- H He
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SYSTEMS = {
    "H": ["+system=H"],
    "He": ["+system=He"],
    "H2": ["+system=H2", "bond_length=1.4"],
    "LiH": ["+system=LiH"],
    "Be": ["+system=Be"],
}
OPTIMIZERS = {
    "spring": ["optimizer=spring_small"],
    "minsr": ["optimizer=minsr", "optimizer.norm_constraint=0.01"],
    "prime_sr": ["optimizer=prime_sr", "optimizer.norm_constraint=0.01"],
    "kfac": ["optimizer=kfac", "optimizer.learning_rate=0.1"],
    "adam": ["optimizer=adam", "optimizer.learning_rate=0.01"],
    "lamb": ["optimizer=lamb", "optimizer.learning_rate=0.03"],
}
TOLERANCE = 1.6e-3
"""Chemical accuracy, in hartree."""


def run(name: str, threads: int, directory: Path, overrides: list[str]) -> dict[str, Any]:
    """Train one system and judge its energy on both sides.

    Args:
        name: key of SYSTEMS.
        threads: CPU threads.
        directory: where the run goes.
        overrides: further overrides of qmcnet-train.

    Returns:
        One row of the table.
    """
    code = "from qmcnet.cli.train import main; main()"
    command = [sys.executable, "-c", code, *SYSTEMS[name], "preset=quick", f"hydra.run.dir={directory}", *overrides]
    start = time.perf_counter()
    subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    seconds = time.perf_counter() - start
    result = json.loads((directory / "result.json").read_text())
    energy, error, reference = result["energy"], result["standard_error"], result["reference"]["energy"]
    good = energy is not None and abs(energy - reference) < TOLERANCE and energy > reference - 4 * error
    row = {"system": name, "seconds": seconds, "reference": reference, "within": good}
    return row | {key: result[key] for key in ("energy", "standard_error", "tau", "r_hat", "variance", "versions")}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("energies.json"))
    parser.add_argument("--override", action="append", default=[], help="passed on to qmcnet-train")
    parser.add_argument("--optimizers", nargs="+", choices=list(OPTIMIZERS), default=[])
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    arguments = parser.parse_args()
    optimizers = {label: OPTIMIZERS[label] for label in arguments.optimizers} or {"preset": []}
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            run(name, arguments.threads, Path(folder) / f"{name}_{label}", [*overrides, *arguments.override])
            | {"optimizer": label}
            for name in arguments.systems
            for label, overrides in optimizers.items()
        ]
    machine = {"processor": platform.processor() or platform.machine(), "threads": arguments.threads}
    arguments.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(
        f"\n{'system':8}{'optimizer':10}{'energy':>12}{'error':>10}{'reference':>12}{'off / mHa':>11}"
        f"{'minutes':>9}  within"
    )
    for row in rows:
        off = 1e3 * (row["energy"] - row["reference"])
        print(
            f"{row['system']:8}{row['optimizer']:10}{row['energy']:12.5f}{row['standard_error']:10.5f}{row['reference']:12.5f}"
            f"{off:11.2f}{row['seconds'] / 60:9.2f}  {row['within']}"
        )
    sys.exit(not all(row["within"] for row in rows))


if __name__ == "__main__":
    main()
