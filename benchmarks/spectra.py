"""What do the lowest states of small atoms come to on a CPU, and in how many minutes?

Runs `qmcnet-train ... states=S preset=quick` as a user would, prints the tables it prints, and compares excitation
energies with exact or measured ones.

    python benchmarks/spectra.py [--threads 1] [--output spectra.json] [SYSTEM ...]
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

from qmcnet.system.units import EV_PER_HARTREE, WAVENUMBERS_PER_HARTREE

SYSTEMS = {
    "He": ["+system=He", "states=3", "steps=1500"],
    "Li": ["+system=Li", "states=2", "steps=1500"],
    "Be": ["+system=Be", "states=2", "steps=2000"],
    "H": ["+system=H", "states=5", "steps=500"],
    "He by a penalty": ["+system=He", "states=2", "steps=1500", "objective=penalty"],
    "He singlets": ["+system=He", "states=2", "steps=1500", "objective.spin_penalty=1"],
}
HELIUM = (-2.903724, -2.175229, -2.145974)  # exact, without relativity
REFERENCES = {  # eV
    "He": [(energy - HELIUM[0]) * EV_PER_HARTREE for energy in HELIUM[1:]],
    "He by a penalty": [(HELIUM[1] - HELIUM[0]) * EV_PER_HARTREE],
    "He singlets": [(HELIUM[2] - HELIUM[0]) * EV_PER_HARTREE],
    "H": [0.375 * EV_PER_HARTREE] * 4,
    "Li": [14903.66 / WAVENUMBERS_PER_HARTREE * EV_PER_HARTREE],  # 2p 2P, NIST ASD
    "Be": [21980.15 / WAVENUMBERS_PER_HARTREE * EV_PER_HARTREE],  # 2s2p 3P averaged over J, NIST ASD
}


def run(name: str, threads: int, directory: Path) -> dict[str, Any]:
    """Train the states of one atom.

    Args:
        name: key of SYSTEMS.
        threads: CPU threads.
        directory: where the run goes.

    Returns:
        States, references and seconds.
    """
    code = "from qmcnet.cli.train import main; main()"
    command = [sys.executable, "-c", code, *SYSTEMS[name], "preset=quick", f"hydra.run.dir={directory}"]
    start = time.perf_counter()
    subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    seconds = time.perf_counter() - start
    result = json.loads((directory / "result.json").read_text())
    found = {"system": name, "seconds": seconds, "references_ev": REFERENCES[name]}
    return found | {key: result[key] for key in ("states", "warnings", "overlaps", "versions")}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("spectra.json"))
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [run(name, given.threads, Path(folder) / name.replace(" ", "_")) for name in given.systems]
    machine = {"processor": platform.processor() or platform.machine(), "threads": given.threads}
    given.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    header = f"{'system':16}{'state':>6}{'energy':>12}{'exc. / eV':>11}{'error':>8}{'reference':>11}{'off / eV':>10}"
    print(f"\n{header}{'minutes':>9}")
    for row in rows:
        for index, state in enumerate(row["states"]):
            excitation = state["excitation_ev"]
            reference = row["references_ev"][index - 1] if index else 0.0
            print(
                f"{row['system']:16}{index:6}{state['energy']['value']:12.5f}{excitation['value']:11.4f}"
                f"{excitation['error']:8.4f}{reference:11.4f}{excitation['value'] - reference:10.4f}"
                f"{row['seconds'] / 60:9.2f}"
            )


if __name__ == "__main__":
    main()
