"""What the benchmarks share: systems, walkers, fair timing, tables and JSON files."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
import yaml

from qmcnet.config.naming import config_directory
from qmcnet.system.elements import SYMBOLS
from qmcnet.system.molecule import Molecule


def preset(name: str) -> Molecule:
    """Build the molecule of a preset that lists its atoms.

    Args:
        name: its name in `conf/system`.

    Returns:
        The molecule.
    """
    settings = yaml.safe_load((config_directory() / "system" / f"{name}.yaml").read_text())["system"]
    del settings["_target_"]
    return Molecule.from_atoms(**settings)


def system(name: str) -> Molecule:
    """Build a system of the benchmarks.

    Args:
        name: LiH, N2, HF, CH4, C6H6, an atom, or H followed by a number for a chain of hydrogen atoms 1.8 bohr apart.

    Returns:
        The molecule.
    """
    if name == "LiH":
        return Molecule.diatomic("Li", "H", 3.015, "bohr")
    if name == "N2":
        return Molecule.diatomic("N", "N", 2.068, "bohr")
    if name == "HF":
        return Molecule.diatomic("H", "F", 1.7325, "bohr")
    if name.startswith("H") and name[1:].isdigit():
        return Molecule.chain("H", int(name[1:]), 1.8, "bohr")
    if name in SYMBOLS:
        return Molecule.atom(name)
    return preset({"C6H6": "benzene"}.get(name, name))


def walkers(molecule: Molecule, count: int, seed: int = 0) -> torch.Tensor:
    """Scatter electrons about the nuclei, each nucleus as often as it has protons.

    Args:
        molecule: the system.
        count: number of walkers.
        seed: seed of the random numbers.

    Returns:
        Positions, shape (count, N, 3), in bohr, float32.
    """
    generator = torch.Generator().manual_seed(seed)
    homes = torch.repeat_interleave(torch.arange(len(molecule.charges)), molecule.charges.long())
    order = torch.stack([torch.randperm(len(homes), generator=generator) for _ in range(count)])
    centres = molecule.nuclei[homes[order]][:, : molecule.n_electrons]
    return (centres + torch.randn(centres.shape, generator=generator, dtype=torch.float64)).float()


def machine() -> dict[str, Any]:
    """Describe where and with what the figures were measured."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0].split(":")[1].strip() if models else platform.processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def alternate(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time functions in turn, so that a drift of the machine hits all of them.

    Args:
        contestants: functions by name; each is called once beforehand.
        repeats: timings of each.

    Returns:
        Median seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for function in contestants.values():
        function()
    for _ in range(repeats):
        for name, function in contestants.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows that share their keys.

    Args:
        rows: cells by column.
    """
    cells = [list(rows[0])] + [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def store(path: Path | None, **content: Any) -> None:
    """Write figures with the machine they were measured on.

    Args:
        path: JSON file; None writes nothing.
        **content: what was measured.
    """
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **content}, indent=2) + "\n")
