"""Checkpoints: written atomically, the newest few kept, corrupt ones passed over."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

logger = logging.getLogger(__name__)
FORMAT = 1


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


def atomic_write(path: Path, write: Any) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part.

    Args:
        path: file to create or replace.
        write: called with an open binary file.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, directory: Path, keep: int) -> None:
        """Use a directory, which need not exist.

        Args:
            directory: where the files are.
            keep: newest checkpoints to keep; the last of each finished stage stays besides.

        Raises:
            ValueError: if none would be kept.
        """
        if keep < 1:
            raise ValueError(f"checkpoints.keep={keep} must be at least 1")
        self.directory, self.keep = directory, keep

    def paths(self) -> list[Path]:
        """Checkpoint files, oldest first."""
        return sorted(self.directory.glob("[0-9]*.pt"), key=Milestone.parse)

    def save(self, position: Milestone, stage: str, state: dict[str, Any]) -> Path:
        """Write a checkpoint and remove those no longer needed.

        Args:
            position: where in the run.
            stage: name of the stage.
            state: tensors and plain values.

        Returns:
            The file written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
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

    def load_newest(self, before_order: int | None = None) -> tuple[Path, dict[str, Any]] | None:
        """Read the newest checkpoint that is whole.

        Args:
            before_order: pass over stages from this order on.

        Returns:
            The file and its content, or None when there is no usable checkpoint.

        Raises:
            ValueError: if the checkpoint was written by a newer version.
        """
        for path in reversed(self.paths()):
            if before_order is not None and Milestone.parse(path).order >= before_order:
                continue
            try:
                state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # any damage must lead to the file before
                logger.warning("checkpoint %s cannot be read (%s); using the one before it", path.name, error)
                continue
            if state["format"] > FORMAT:
                raise ValueError(f"checkpoint {path} was written by a newer qmcnet; update qmcnet to read it")
            return path, state
        return None
