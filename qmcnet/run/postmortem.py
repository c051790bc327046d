"""What is kept of a state that went bad: which walker, which term, and the state itself."""

import json
import math
from pathlib import Path
from typing import Any

import torch

from qmcnet.compute.files import atomic_write
from qmcnet.compute.team import by_first
from qmcnet.operators.hamiltonian import trace
from qmcnet.stages.simulation import Simulation


class Diverged(RuntimeError):
    """Raised when a run keeps producing numbers that are not finite."""


def is_bad(row: dict[str, float]) -> bool:
    """Whether a row of statistics shows that the state is lost.

    Single walkers with a non-finite local energy are counted, not fatal; a mean or an update that is not finite is.

    Args:
        row: statistics of one step.

    Returns:
        Whether any figure other than an extreme is not finite.
    """
    return any(not math.isfinite(value) for name, value in row.items() if name not in ("minimum", "maximum"))


def diagnose(simulation: Simulation) -> dict[str, Any]:
    """Find out what is not finite in a simulation.

    Args:
        simulation: the state after a bad step.

    Returns:
        Names of bad parameters; for each bad walker the bad terms of its energy and, where it has one, its closest
        pair of electrons.
    """
    parameters = simulation.ensemble.named_parameters()
    bad_parameters = [name for name, value in parameters if not torch.isfinite(value).all()]
    positions = simulation.walkers.positions
    energy = simulation.local_energy(simulation.states())
    terms = {name: trace(matrix) for name, matrix in energy.terms.items()}
    bad = torch.stack([~torch.isfinite(term) for term in terms.values()])
    walkers = []
    for index in bad.any(0).nonzero()[:10, 0].tolist():
        names = [name for name, lost in zip(terms, bad[:, index].tolist(), strict=True) if lost]
        distances = torch.cdist(positions[index].double(), positions[index].double())
        copies = torch.arange(len(distances), device=distances.device) // simulation.molecule.n_electrons
        distances = distances.where(copies[:, None] == copies, torch.inf).fill_diagonal_(torch.inf)
        closest = int(distances.argmin())
        pair = [closest // len(distances), closest % len(distances)]
        distance = distances.min().item()
        entry = {"walker": index, "terms": names, "closest_electrons": pair, "distance": distance}
        walkers.append(entry if math.isfinite(distance) else {"walker": index, "terms": names})
    return {
        "bad_parameters": bad_parameters,
        "bad_walkers": int(bad.any(0).sum()),
        "first_bad_walkers": walkers,
    }


def write_postmortem(directory: Path, stage: str, step: int, simulation: Simulation) -> str:
    """Keep a bad state aside.

    Args:
        directory: the run directory.
        stage: name of the stage.
        step: the bad step.
        simulation: the bad state.

    Returns:
        One sentence that names the culprit and the files.
    """
    return _write(directory, {"stage": stage, "step": step, **diagnose(simulation)}, simulation)


@by_first
def _write(directory: Path, report: dict[str, Any], simulation: Simulation) -> str:
    folder, stage, step = directory / "postmortem", report["stage"], report["step"]
    folder.mkdir(exist_ok=True)
    earlier = len(list(folder.glob(f"{stage}-{step:08d}*.json")))
    base = folder / (f"{stage}-{step:08d}" + (f"-{earlier + 1}" if earlier else ""))
    atomic_write(base.with_suffix(".pt"), lambda file: torch.save(simulation.state_dict(), file))
    text = json.dumps(report, indent=2) + "\n"
    atomic_write(base.with_suffix(".json"), lambda file: file.write(text.encode()))
    culprit = f"{report['bad_walkers']} walkers with a non-finite local energy"
    if report["bad_parameters"]:
        culprit += f", non-finite parameters {', '.join(report['bad_parameters'][:3])}"
    return f"{culprit}; the state is in {base}.json and .pt"
