"""Checkpoints of version 0.1, read as those of today.

They stand in `trained-order-stage-step.pt`, with the steps of the optimisation and the place of the stage in a run. One
state was not wrapped as several are, the running mean of the energy was the run's, and evaluations kept a series.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.states.density import from_total
from qmcnet.statistics.averages import from_series

NAME = re.compile(r"\d{8,}-\d-[a-z_]+-\d{8,}\.pt")
State = dict[str, Any]


def place(path: Path) -> tuple[int, int, int]:
    """Read the place in a run off a file name.

    Args:
        path: a checkpoint file.

    Returns:
        Steps of the optimisation, place of the stage and its step.
    """
    trained, order, _, step = path.stem.split("-")
    return int(trained), int(order), int(step)


def translated(state: State, path: Path) -> State:
    """Translate a checkpoint.

    Args:
        state: its content.
        path: its file.

    Returns:
        The content in the format of this version.
    """
    trained, _, step = place(path)
    stage: str = state["stage"]
    made = {"optimization": trained, stage: step} if trained else {stage: step}
    simulation = state["simulation"] | {"ansatz": _wrapped(state["simulation"]["ansatz"])}
    simulation.setdefault("chunks", {"sampling": {}, "laplacian": {}})
    translate = {"burn_in": _burn_in, "optimization": _optimization, "evaluation": _evaluation}.get(stage)
    own = translate(state["stage_state"], state) if translate else state["stage_state"]
    return state | {"made": made, "simulation": simulation, "stage_state": own}


def _wrapped(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the network of a single state where that of several stood."""
    if all(name.startswith("network.") for name in parameters):
        return parameters
    return {f"network.{name}": value for name, value in parameters.items()}


def _burn_in(own: State, _: State) -> State:
    """What the sweeps showed is not known, and the looks start anew."""
    return {"series": torch.empty(0), "equilibrated": False} | own


def _optimization(own: State, state: State) -> State:
    return own | {"running": state["average"]}


def _evaluation(own: State, _: State) -> State:
    averages, density, step = own["averages"], own["density"], own["step"]
    if "series" in own:
        averages, density = from_series(averages, own["series"]), density and from_total(density, step)
    averages = averages | {"bins": [_with_identity(part) for part in averages["bins"]]}
    points = {"step": max(step, 0), "points": own["points"], "steps_per_point": own.get("steps_per_point", 50)}
    return {
        "step": step,
        "averages": averages,
        "measurements": {"points": points} | ({"density": density} if density else {}),
    }


def _with_identity(part: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the local matrix of the identity, which is one where it was not kept."""
    if "overlap" in part:
        return part
    identity = torch.eye(part["energy"].shape[-1], dtype=part["energy"].dtype)
    return part | {"overlap": part["count"][:, None, None, None] * identity}
