"""How much memory do a local energy and a training iteration need, and is it known beforehand?

FermiNet with 4 layers of 256 and 32 features and 16 full determinants, float32. For chunks of walkers the table gives
the peak predicted from shapes alone, the peak of the tensors alive while it runs, and the growth of the resident set of
a fresh process (Linux only) that has warmed its libraries up on H2: as it is, and with glibc told to hand freed blocks
back at once, which leaves out the fragments that it keeps. One row is a whole training iteration. MB are 10^6 bytes.

    python benchmarks/memory.py [SYSTEM ...] [--json memory.json] [--threads 1] [--walkers 1 8 64]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import machine, store, system

from qmcnet import VMC, FermiNet, Molecule, NaturalStates
from qmcnet.compute.memory import peak_bytes, predicted_peak
from qmcnet.laplacian import automatic_chunk_size, forward_laplacian
from qmcnet.stages.optimization import Optimization
from qmcnet.states.ensemble import LogPsi

SYSTEMS = ("H4", "H8", "H12", "H16", "H20", "LiH", "N2", "C6H6")
TRAINED, BATCH_SIZE = "N2", 64


def resident(field: str) -> int:
    """Read the resident set of this process.

    The peak that getrusage gives will not do: a child starts with that of its parent.

    Args:
        field: 'VmRSS' for now, 'VmHWM' for the peak.

    Returns:
        Bytes.
    """
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(lines[field].split()[0])


def local_energy(molecule: Molecule, walkers: int) -> tuple[LogPsi, Callable[[], object]]:
    """Prepare the differentiation of log|psi| of one chunk.

    Args:
        molecule: the system.
        walkers: walkers at once.

    Returns:
        What is differentiated, and the computation.
    """
    function = NaturalStates(FermiNet(molecule)).log_psi
    positions = 2 * torch.randn(walkers, molecule.n_electrons, 3, generator=torch.Generator().manual_seed(0))
    return function, lambda: forward_laplacian(function, positions)


def iteration(molecule: Molecule, walkers: int) -> Callable[[], object]:
    """Prepare a whole training iteration: ten sweeps, local energy, SPRING.

    Args:
        molecule: the system.
        walkers: walkers of the run.

    Returns:
        The computation.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = VMC(FermiNet(molecule), folder, batch_size=walkers, device="cpu")
    return Optimization(run.simulation, run.optimizer, 10).advance


def prepare(name: str, walkers: int, training: bool) -> Callable[[], object]:
    """Prepare the computation of one row.

    Args:
        name: a system of `common.py`.
        walkers: walkers at once, or of the run.
        training: a training iteration instead of the local energy of a chunk.

    Returns:
        The computation.
    """
    molecule = system(name)
    return iteration(molecule, walkers) if training else local_energy(molecule, walkers)[1]


def measure_resident(name: str, walkers: int, training: bool) -> dict[str, int]:
    """Run one row in this process, which must be fresh.

    Args:
        name: a system of `common.py`.
        walkers: walkers at once, or of the run.
        training: a training iteration instead of the local energy of a chunk.

    Returns:
        Growth and peak of the resident set, in bytes.
    """
    warm_up = Molecule.chain("H", 2, 1.4, "bohr")
    (iteration(warm_up, 2) if training else local_energy(warm_up, 2)[1])()
    compute = prepare(name, walkers, training)
    before = resident("VmRSS")
    for _ in range(2):
        compute()
    peak = resident("VmHWM")
    return {"resident_growth": peak - before, "resident_peak": peak}


def row(name: str, walkers: int, training: bool = False) -> dict[str, Any]:
    """Predict and measure one row.

    Args:
        name: a system of `common.py`.
        walkers: walkers at once, or of the run.
        training: a training iteration instead of the local energy of a chunk.

    Returns:
        The row, in bytes.
    """
    molecule = system(name)
    predicted = None
    if not training:
        function = local_energy(molecule, walkers)[0]
        predicted = predicted_peak(forward_laplacian, function, walkers, molecule.n_electrons, torch.float32)
    compute = prepare(name, walkers, training)
    with torch.no_grad():
        live = peak_bytes(compute)
    worker = [sys.executable, __file__, "--worker", json.dumps([name, walkers, training])]
    worker += ["--threads", str(torch.get_num_threads())]
    done = [
        subprocess.run(worker, capture_output=True, text=True, check=True, env=os.environ | setting).stdout
        for setting in ({}, {"MALLOC_MMAP_THRESHOLD_": "65536"})
    ]
    sizes = {"predicted": predicted, "live": live, **json.loads(done[0])}
    sizes["growth_unpooled"] = json.loads(done[1])["resident_growth"]
    what = "training iteration" if training else "local energy"
    return {"system": name, "electrons": molecule.n_electrons, "walkers": walkers, "what": what, **sizes}


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table, in MB.

    Args:
        rows: what `row` returned.
    """
    fields = ("predicted", "live", "growth_unpooled", "resident_growth", "resident_peak")
    print(f"{'system':9}{'electrons':>9}{'walkers':>9}" + "".join(f"{field.replace('_', ' '):>17}" for field in fields))
    for each in rows:
        sizes = "".join(f"{each[field] / 1e6:17.2f}" if each[field] else f"{'':>17}" for field in fields)
        note = "" if each["what"] == "local energy" else f"  {each['what']}"
        print(f"{each['system']:9}{each['electrons']:9}{each['walkers']:9}{sizes}{note}")


def automatic(name: str) -> int:
    """Walkers that the package differentiates at once on a CPU.

    Args:
        name: a system of `common.py`.

    Returns:
        Walkers in a chunk.
    """
    molecule = system(name)
    function = NaturalStates(FermiNet(molecule)).log_psi
    return automatic_chunk_size(function, torch.randn(1, molecule.n_electrons, 3))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("memory.json"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--walkers", type=int, nargs="*", default=[1, 8, 64], help="besides the automatic chunk")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        print(json.dumps(measure_resident(*json.loads(arguments.worker))))
        return
    rows = [row(name, n) for name in arguments.systems for n in sorted({*arguments.walkers, automatic(name)})]
    if TRAINED in arguments.systems:
        rows.append(row(TRAINED, BATCH_SIZE, training=True))
    print(machine())
    show(rows)
    store(arguments.json, rows=rows)


if __name__ == "__main__":
    main()
