"""Checkpoints: written atomically, the newest few kept, damaged ones set aside."""

import logging
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qmcnet.compute.files import atomic_write, set_aside
from qmcnet.compute.team import by_first
from qmcnet.run import first_format

logger = logging.getLogger(__name__)
FORMAT = 2
NAME = re.compile(r"(\d{8,})-([a-z_]+)-(\d{8,})\.pt")
KEYS = ("simulation", "stage_state", "made", "wall_seconds")


class DamagedCheckpoint(ValueError):
    """Raised for a checkpoint that cannot be continued from; says what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is whole.

    Attributes:
        path: its file.
        stage: name of the stage it was taken in.
        state: its content, on the CPU.
    """

    path: Path
    stage: str
    state: dict[str, Any]

    @property
    def made(self) -> dict[str, int]:
        """Steps made of each stage, as far as is known."""
        made: dict[str, int] = self.state["made"]
        return made


def stage_and_step(path: Path) -> tuple[str, int]:
    """Read off a file name where a checkpoint was taken.

    Args:
        path: a checkpoint file.

    Returns:
        Name of the stage, and its step.
    """
    *_, stage, step = path.stem.split("-")
    return stage, int(step)


class Checkpoints:
    """The checkpoints of one run directory; their names begin with the steps that were made before their stage."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Use a directory, which need not exist.

        Args:
            directory: where the files are.
            keep: newest checkpoints to keep; the last of each finished stage stays besides.
        """
        self.directory, self.keep = directory, keep

    def paths(self) -> list[Path]:
        """Checkpoint files, oldest first; copies and other files beside them do not count."""
        ages = {path: age(path) for path in self.directory.glob("*.pt")}
        return sorted((path for path in ages if ages[path]), key=lambda path: ages[path])

    @by_first
    def save(self, made: Mapping[str, int], stage: str, state: dict[str, Any]) -> Path:
        """Write a checkpoint and remove those no longer needed.

        Args:
            made: steps made of each stage.
            stage: name of the stage.
            state: tensors and plain values.

        Returns:
            The file written.
        """
        self.directory.mkdir(exist_ok=True)  # a run directory that vanished is not made again
        before = sum(made.values()) - made[stage]
        path = self.directory / f"{before:08d}-{stage}-{made[stage]:08d}.pt"
        content = {"format": FORMAT, "stage": stage, "made": dict(made), **state}
        atomic_write(path, lambda file: torch.save(content, file))
        self._rotate()
        return path

    def _rotate(self) -> None:
        paths = self.paths()
        last_of_stage = {stage_and_step(path)[0]: path for path in paths}
        for leftover in self.directory.glob(".*.partial"):  # of a process killed while writing
            leftover.unlink()
        for path in paths[: -self.keep]:
            if path not in last_of_stage.values():
                path.unlink()

    @by_first
    def move(self, stage: str, folder: Path) -> None:
        """Move the checkpoints of a stage away.

        Args:
            stage: name of the stage.
            folder: where they go.
        """
        for path in self.paths():
            if stage_and_step(path)[0] == stage:
                path.rename(folder / path.name)

    @by_first
    def load_newest(
        self, stages: Collection[str] | None = None, like: Mapping[str, Any] | None = None
    ) -> Checkpoint | None:
        """Read the newest checkpoint that is whole; damaged ones get a name that says so and never count again.

        Args:
            stages: names of stages that count; None counts all.
            like: state of the simulation that is to continue from it; None takes any checkpoint.

        Returns:
            The checkpoint, or None when there is none.

        Raises:
            ValueError: if the checkpoint was written by a newer version.
        """
        for path in reversed(self.paths()):
            stage, _ = stage_and_step(path)
            if stages is not None and stage not in stages:
                continue
            try:
                state = read(path)
                if like is not None:
                    check_fits(state, like)
            except DamagedCheckpoint as damage:
                self.set_aside(path, damage)
                continue
            return Checkpoint(path, stage, state)
        return None

    @by_first
    def set_aside(self, path: Path, damage: DamagedCheckpoint) -> None:
        """Rename a damaged checkpoint and say so.

        Args:
            path: the file.
            damage: what is wrong with it.
        """
        logger.warning("checkpoint %s is damaged: %s; using the one before it, %s", path.name, damage, set_aside(path))


def age(path: Path) -> tuple[int, ...]:
    """Say how late in a run a checkpoint was taken; those of the first format are older than all others.

    Args:
        path: any file.

    Returns:
        Numbers that order checkpoints; none of what is no checkpoint.
    """
    if match := NAME.fullmatch(path.name):
        return 1, int(match[1]), int(match[3])
    return (0, *first_format.place(path)) if first_format.NAME.fullmatch(path.name) else ()


def read(path: Path) -> dict[str, Any]:
    """Read a checkpoint and make sure that it is what was written.

    Args:
        path: the file.

    Returns:
        Its content, on the CPU, in the format of this version.

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
    try:
        return state if state["format"] == FORMAT else first_format.translated(state, path)
    except (LookupError, TypeError, AttributeError) as error:
        raise DamagedCheckpoint(f"it is not whole ({error!r})") from error


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
