"""Checkpoints: written atomically, the newest few kept, damaged ones set aside."""

import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qmcnet.compute.files import atomic_write, set_aside

logger = logging.getLogger(__name__)
FORMAT = 1
NAME = re.compile(r"\d{8,}-\d-[a-z_]+-\d{8,}\.pt")
KEYS = ("simulation", "stage_state", "average", "trained", "wall_seconds")


class DamagedCheckpoint(ValueError):
    """Raised for a checkpoint that cannot be continued from; says what is wrong with it."""


@dataclass(frozen=True, order=True)
class Milestone:
    """Where in a run a checkpoint was taken; later positions compare greater.

    Attributes:
        trained: optimisation steps made.
        order: place of the stage in the run.
        step: step of the stage.
    """

    trained: int
    order: int
    step: int

    def filename(self, stage: str) -> str:
        """Return a name that sorts as the positions do.

        Args:
            stage: name of the stage.

        Returns:
            The file name.
        """
        return f"{self.trained:08d}-{self.order}-{stage}-{self.step:08d}.pt"

    @classmethod
    def parse(cls, path: Path) -> "Milestone":
        """Read the position from a file name.

        Args:
            path: a checkpoint file.

        Returns:
            Its position.
        """
        trained, order, _, step = path.stem.split("-")
        return cls(int(trained), int(order), int(step))


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Use a directory, which need not exist.

        Args:
            directory: where the files are.
            keep: newest checkpoints to keep; the last of each finished stage stays besides.
        """
        self.directory, self.keep = directory, keep

    def paths(self) -> list[Path]:
        """Checkpoint files, oldest first; copies and other files beside them do not count."""
        found = [path for path in self.directory.glob("*.pt") if NAME.fullmatch(path.name)]
        return sorted(found, key=Milestone.parse)

    def save(self, position: Milestone, stage: str, state: dict[str, Any]) -> Path:
        """Write a checkpoint and remove those no longer needed.

        Args:
            position: where in the run.
            stage: name of the stage.
            state: tensors and plain values.

        Returns:
            The file written.
        """
        self.directory.mkdir(exist_ok=True)  # a run directory that vanished is not made again
        path = self.directory / position.filename(stage)
        atomic_write(path, lambda file: torch.save({"format": FORMAT, "stage": stage, **state}, file))
        self._rotate()
        return path

    def _rotate(self) -> None:
        paths = self.paths()
        last_of_stage = {Milestone.parse(path).order: path for path in paths}
        for leftover in self.directory.glob(".*.partial"):  # of a process killed while writing
            leftover.unlink()
        for path in paths[: -self.keep]:
            if path not in last_of_stage.values():
                path.unlink()

    def move(self, order: int, folder: Path) -> None:
        """Move the checkpoints of a stage away.

        Args:
            order: place of the stage in the run.
            folder: where they go.
        """
        for path in self.paths():
            if Milestone.parse(path).order == order:
                path.rename(folder / path.name)

    def load_newest(
        self, before_order: int | None = None, like: Mapping[str, Any] | None = None
    ) -> tuple[Path, dict[str, Any]] | None:
        """Read the newest checkpoint that is whole; damaged ones get a name that says so and never count again.

        Args:
            before_order: pass over stages from this order on.
            like: state of the simulation that is to continue from it; None takes any checkpoint.

        Returns:
            The file and its content, or None when there is no usable checkpoint.

        Raises:
            ValueError: if the checkpoint was written by a newer version.
        """
        for path in reversed(self.paths()):
            if before_order is not None and Milestone.parse(path).order >= before_order:
                continue
            try:
                state = read(path)
                if like is not None:
                    check_fits(state, like)
            except DamagedCheckpoint as damage:
                self.set_aside(path, damage)
                continue
            return path, state
        return None

    def set_aside(self, path: Path, damage: DamagedCheckpoint) -> None:
        """Rename a damaged checkpoint and say so.

        Args:
            path: the file.
            damage: what is wrong with it.
        """
        logger.warning("checkpoint %s is damaged: %s; using the one before it, %s", path.name, damage, set_aside(path))


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint and make sure that it is what was written.

    Args:
        path: the file.

    Returns:
        Its content, on the CPU.

    Raises:
        DamagedCheckpoint: if it is no checkpoint, or not the one that was written.
        ValueError: if it was written by a newer version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()  # torch writes checksums, and does not read them
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever bytes can do to two libraries
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DamagedCheckpoint(f"it cannot be read ({reason[0]})") from error
    if changed is not None:
        raise DamagedCheckpoint(f"the checksum of {changed} is wrong")
    if not isinstance(state, dict) or not isinstance(state.get("format"), int):
        raise DamagedCheckpoint("it is no checkpoint of qmcnet")
    if state["format"] > FORMAT:
        raise ValueError(f"checkpoint {path} was written by a newer qmcnet; update qmcnet to read it")
    return state


def check_fits(state: Mapping[str, Any], like: Mapping[str, Any]) -> None:
    """Make sure that a checkpoint fits a simulation and is finite.

    Args:
        state: content of the checkpoint.
        like: state of the simulation.

    Raises:
        DamagedCheckpoint: if it lacks something, has other shapes, or has numbers that are not finite.
    """
    if missing := [key for key in KEYS if key not in state]:
        raise DamagedCheckpoint(f"it lacks {', '.join(missing)}")
    groups = {"ansatz": like["ansatz"], "walkers": {"positions": like["walkers"]["positions"]}}
    for group, expected in groups.items():
        for name, tensor in expected.items():
            try:
                value = state["simulation"][group][name]
                fits = value.shape == tensor.shape
            except (KeyError, TypeError, AttributeError):
                raise DamagedCheckpoint(f"it lacks {group}.{name}") from None
            if not fits:
                raise DamagedCheckpoint(f"its {group}.{name} has the shape {tuple(value.shape)}")
            if not value.isfinite().all():
                raise DamagedCheckpoint(f"its {group}.{name} is not finite")
