"""What does each ansatz reach with `preset=quick`, and what does a step of it cost?

Runs `qmcnet-train` as a user would, one ansatz after the other; then times optimisation steps of all of them side by
side, in turn. Prints a table and writes JSON.

    python benchmarks/ansaetze.py [--threads 1] [--output ansaetze.json] [--systems LiH Be] [ANSATZ ...]
"""

import argparse
import json
import platform
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from energies import SYSTEMS, run
from hydra import compose, initialize_config_dir

from qmcnet.config.build import build
from qmcnet.config.naming import config_directory
from qmcnet.stages.optimization import Optimization

ANSAETZE = ("ferminet_small", "psiformer_small", "lapnet_small", "slater_jastrow", "slater_backflow")


def row(system: str, ansatz: str, threads: int, directory: Path) -> dict[str, Any]:
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
    parameters = re.search(r"parameters: (\d+)", (directory / "train.log").read_text())
    assert parameters is not None
    return found | {"ansatz": ansatz, "parameters": int(parameters[1])}


def seconds_per_step(system: str, ansaetze: list[str], repeats: int = 15) -> dict[str, float]:
    """Time optimisation steps, one of each ansatz in turn.

    Args:
        system: key of the systems of `energies.py`.
        ansaetze: names.
        repeats: steps of each; the first three are not counted.

    Returns:
        Median seconds by name.
    """
    stages = {}
    for ansatz in ansaetze:
        options = [*SYSTEMS[system], "preset=quick", f"ansatz={ansatz}", "device=cpu"]
        with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
            made = build(compose("config", overrides=options), f"unused_{ansatz}")
        stages[ansatz] = Optimization(made.simulation, made.optimizer, repeats, made.clipping, made.schedule)
    times: dict[str, list[float]] = {ansatz: [] for ansatz in ansaetze}
    for _ in range(repeats):
        for ansatz, stage in stages.items():
            start = time.perf_counter()
            stage.advance()
            times[ansatz].append(time.perf_counter() - start)
    return {ansatz: statistics.median(found[3:]) for ansatz, found in times.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("ansaetze.json"))
    parser.add_argument("--systems", nargs="+", default=["LiH", "Be"])
    parser.add_argument("ansaetze", nargs="*", default=list(ANSAETZE))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row(system, ansatz, given.threads, Path(folder) / f"{system}_{ansatz}")
            for system in given.systems
            for ansatz in given.ansaetze
        ]
    steps = {system: seconds_per_step(system, given.ansaetze) for system in given.systems}
    for found in rows:
        found["seconds_per_step"] = steps[str(found["system"])][str(found["ansatz"])]
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
