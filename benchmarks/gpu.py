"""What does a step cost on a GPU, what does the host wait for, and does a killed run come back the same?

Seconds, launches, waits and peak memory of each part of a step; N2 with preset=standard for three minutes; a run that
is killed and resumed against one that is not. A launch is an operation that is no view, a wait one that torch reports
as synchronising. Without PySCF runs start without pretraining, and with --smoke all is tiny and runs on a CPU.

    python benchmarks/gpu.py [--smoke] [--repeats 5] [--seconds 180] [--json FILE] [--markdown FILE]
"""

import argparse
import csv
import importlib.util
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import machine, print_table, store, system
from torch.utils._python_dispatch import TorchDispatchMode

from qmcnet import VMC, FermiNet, FirstOrder, Kfac, LocalEnergy, Spring
from qmcnet.compute.process import prepare_process

TINY = {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2}
CASES: dict[bool, list[tuple[str, int, dict[str, Any]]]] = {
    False: [("LiH", 1024, {}), ("N2", 1024, {}), ("C6H6", 256, {})],
    True: [("LiH", 8, TINY)],
}
"""System, walkers and sizes of the network; without sizes those of the FermiNet paper."""

OPTIMIZERS: dict[str, Any] = {"SPRING": Spring, "KFAC": Kfac, "Adam": FirstOrder}
STANDARD = {
    False: ["+system=N2", "preset=standard", "pretraining.steps=300"],
    True: ["+system=He", "preset=quick", "steps=4", "pretraining.steps=2", "evaluation.steps=4", "batch_size=16"],
}
SHORT = ["preset=quick", "pretraining.steps=0", "burn_in.max_sweeps=20", "evaluation.steps=0"]
SHORT += ["checkpoints.seconds=0", "logging.every=5"]
KILLED = {
    False: ["+system=LiH", *SHORT, "steps=60"],
    True: ["+system=He", *SHORT, "steps=30", "batch_size=16"],
}


class Launches(TorchDispatchMode):
    """Counts operations that compute something."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation."""
        self.total += not func.is_view
        return func(*args, **(kwargs or {}))


def waits(work: Callable[[], object]) -> int:
    """Count how often a function waits for the device.

    Args:
        work: what to run.

    Returns:
        Synchronising operations that torch reports; none without a GPU.
    """
    if not torch.cuda.is_available():
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught)


def cost(work: Callable[[], object], repeats: int) -> dict[str, Any]:
    """Measure one part of a step.

    Args:
        work: what to run; it runs once beforehand.
        repeats: timings.

    Returns:
        Median seconds until the device is done, launches, waits, and peak memory in GiB.
    """
    on_gpu = torch.cuda.is_available()
    done: Callable[[], object] = torch.cuda.synchronize if on_gpu else float
    work()
    done()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        done()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    with Launches() as launches:  # type: ignore[no-untyped-call]
        work()
    return {"seconds": statistics.median(seconds), "launches": launches.total, "waits": waits(work), "peak GiB": peak}


def parts(label: str, count: int, sizes: Mapping[str, Any], repeats: int) -> list[dict[str, Any]]:
    """Measure the parts of a step, each by itself.

    Args:
        label: the system.
        count: number of walkers.
        sizes: of the network.
        repeats: timings of each.

    Returns:
        One row for each part.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = VMC(FermiNet(system(label), **sizes), folder, batch_size=count)
    simulation = run.simulation

    def sweep() -> None:
        simulation.sweep(adapt=False)

    for _ in range(5):
        sweep()
    positions = simulation.walkers.positions

    def local_energy() -> LocalEnergy:
        return simulation.hamiltonian(simulation.states())

    energies = run.objective(local_energy(), ())
    work: dict[str, Callable[[], object]] = {"ten moves": sweep, "local energy": local_energy}
    for name, make in OPTIMIZERS.items():
        # So slow that updates in the same place leave the wavefunction as it is.
        optimizer = make(simulation.ensemble, learning_rate=1e-12)
        work[name] = partial(optimizer.update, positions, energies)
    return [{"system": label, "walkers": count, "part": name, **cost(part, repeats)} for name, part in work.items()]


def command(overrides: Sequence[str], folder: Path) -> list[str]:
    """Write down a training in a process of its own.

    Args:
        overrides: of qmcnet-train.
        folder: the run directory.

    Returns:
        The command.
    """
    without = [] if importlib.util.find_spec("pyscf") else ["pretraining.steps=0"]
    train = [sys.executable, "-c", "from qmcnet.cli.train import main; main()"]
    return [*train, *overrides, *without, f"hydra.run.dir={folder}"]


def table(folder: Path) -> list[dict[str, str]]:
    """Read the statistics of a training.

    Args:
        folder: the run directory.

    Returns:
        One row for each step.
    """
    path = folder / "train_stats.csv"
    return list(csv.DictReader(path.open())) if path.exists() else []


def standard(smoke: bool, seconds: float) -> dict[str, Any]:
    """Train as a user would, until the time is up.

    Args:
        smoke: whether to train something tiny.
        seconds: wall time.

    Returns:
        Steps made, the energy they came to, and what the run forecast of itself.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        done = subprocess.run(
            command([*STANDARD[smoke], f"wall_time={seconds}"], folder), capture_output=True, text=True
        )
        rows = table(folder)
        log = (folder / "train.log").read_text() if (folder / "train.log").exists() else done.stderr
    forecasts = re.findall(r"forecast: .*", log)
    figures = {"exit status": done.returncode, "steps": len(rows), "forecast": forecasts[0] if forecasts else "none"}
    if not rows:
        return figures | {"error": done.stderr[-1000:]}
    return figures | {
        "energy": float(rows[-1]["ewmean"]),
        "nonfinite": sum(float(row["nonfinite"]) for row in rows),
    }


def resumed(smoke: bool) -> dict[str, Any]:
    """Kill a run in the middle of its training, call it again, and compare it with one that was left alone.

    Args:
        smoke: whether to train something tiny.

    Returns:
        Steps that agree to the last digit, of how many, and the largest difference of their energies in hartree.
    """
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        subprocess.run(command(KILLED[smoke], whole), check=True, capture_output=True)
        process = subprocess.Popen(command(KILLED[smoke], killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(table(killed)) < 10:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        survived = len(table(killed))
        subprocess.run(command(KILLED[smoke], killed), check=True, capture_output=True)
        pairs = list(zip(table(whole), table(killed), strict=True))
    differences = [abs(float(a["energy"]) - float(b["energy"])) for a, b in pairs]
    same = sum(a == b for a, b in pairs)
    return {"steps": len(pairs), "killed after": survived, "same steps": same, "largest difference": max(differences)}


def markdown(rows: Sequence[Mapping[str, Any]], figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out the figures for a document.

    Args:
        rows: of the parts of a step.
        figures: everything else, by what was run.

    Returns:
        A table, and a line for each run.
    """
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells) + " |")
    notes = (f"{name}: " + ", ".join(f"{key} {value}" for key, value in run.items()) for name, run in figures.items())
    return "\n".join([*lines, "", *notes]) + "\n"


def main() -> None:
    """Read the arguments, measure, and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    if not (arguments.smoke or torch.cuda.is_available()):
        parser.error("torch sees no GPU; --smoke runs something tiny on a CPU")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    prepare_process()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    print({**machine(), "gpu": gpu})
    rows = [row for case in CASES[arguments.smoke] for row in parts(*case, arguments.repeats)]
    print_table(rows)
    figures = {"standard": standard(arguments.smoke, arguments.seconds), "resume": resumed(arguments.smoke)}
    if not importlib.util.find_spec("pyscf"):
        figures["left out"] = {"pretraining": "PySCF is not installed"}
    for name, run in figures.items():
        print(f"{name}: {run}")
    if arguments.markdown:
        arguments.markdown.write_text(f"{gpu}, torch {torch.__version__}\n\n{markdown(rows, figures)}")
    store(arguments.json, gpu=gpu, parts=rows, **figures)


if __name__ == "__main__":
    main()
