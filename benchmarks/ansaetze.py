"""What does each ansatz reach with `preset=quick`, and what does a step of it cost?

Runs `qmcnet-train` as a user would, one ansatz after the other; prints a table and writes JSON.

    python benchmarks/ansaetze.py [--threads 1] [--output ansaetze.json] [--systems LiH Be] [ANSATZ ...]
"""

import argparse
import json
import platform
import re
import tempfile
from pathlib import Path

from energies import run

ANSAETZE = ("ferminet_small", "psiformer_small", "lapnet_small", "slater_jastrow", "slater_backflow")


def row(system: str, ansatz: str, threads: int, directory: Path) -> dict[str, object]:
    """Train one ansatz.

    Args:
        system: key of the systems of `energies.py`.
        ansatz: name of the ansatz.
        threads: CPU threads.
        directory: where the run goes.

    Returns:
        One row of the table.
    """
    found = run(system, threads, directory, [f"ansatz={ansatz}", "evaluation.steps=1500"])
    log = (directory / "train.log").read_text()
    step, parameters = re.search(r"forecast: ([\d.e-]+) s/step", log), re.search(r"(\d+) parameters", log)
    assert step is not None
    assert parameters is not None
    return found | {"ansatz": ansatz, "seconds_per_step": float(step[1]), "parameters": int(parameters[1])}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("ansaetze.json"))
    parser.add_argument("--systems", nargs="+", default=["LiH", "Be"])
    parser.add_argument("ansaetze", nargs="*", default=list(ANSAETZE))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row(system, ansatz, given.threads, Path(folder) / f"{system}_{ansatz}")
            for system in given.systems
            for ansatz in given.ansaetze
        ]
    machine = {"processor": platform.processor() or platform.machine(), "threads": given.threads}
    given.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    print(
        f"\n{'system':7}{'ansatz':17}{'parameters':>11}{'energy':>12}{'error':>9}{'off / mHa':>11}{'variance':>10}",
        end="",
    )
    print(f"{'s/step':>8}{'minutes':>9}")
    for found in rows:
        off = 1e3 * (found["energy"] - found["reference"])
        print(
            f"{found['system']:7}{found['ansatz']:17}{found['parameters']:11}{found['energy']:12.5f}"
            f"{found['standard_error']:9.5f}{off:11.2f}{found['variance']:10.4f}{found['seconds_per_step']:8.3f}"
            f"{found['seconds'] / 60:9.2f}"
        )


if __name__ == "__main__":
    main()
