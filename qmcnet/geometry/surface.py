"""Points of an energy surface by runs, each of which starts from what the nearest one before has learned.

The runs lie in `points/000`, `points/001` and so on, in the order in which they were asked for. What was asked for
before is found again by its geometry, and a run that was stopped goes on where it was; so whoever asks for the same
points in the same order gets the same numbers.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from qmcnet.compute.team import by_first
from qmcnet.geometry.point import SurfacePoint, own_error, point_of, scatter
from qmcnet.geometry.settings import RelaxationSettings, forgotten, steps_to_forget
from qmcnet.report.result import Result
from qmcnet.run.description import describe, molecule_of
from qmcnet.run.directory import RunDirectoryError, is_used, read_config
from qmcnet.run.identity import difference, identity
from qmcnet.run.points import GEOMETRIES
from qmcnet.run.vmc import VMC
from qmcnet.system.geometry import moved
from qmcnet.system.molecule import Molecule
from qmcnet.system.warp import strain

logger = logging.getLogger(__name__)

Make = Callable[[Mapping[str, Any], Path], VMC]
"""Builds a run from its configuration, in a directory."""

DIGITS = 6
"""Of positions in bohr, after the point: rounding of other machines does not ask for other points."""
MARGIN = 1.2
"""Evaluation steps over those that should bring the error asked for."""
FARTHEST = 1.0
"""Strain of electrons that follow their nuclei, from which on a network is better trained from its start."""
REPLACED = {
    "evaluation.steps": "relaxation.evaluation_steps and relaxation.most_evaluation_steps",
    "evaluation.target_error": "relaxation.force_error",
}
"""What decides in place of settings of a single run."""
SHORTEST = 1e-3
"""Seconds that are left where the wall time is used up: for a single step."""


class Points(Protocol):
    """What gives energies and forces at geometries."""

    def __call__(self, molecule: Molecule, energy_error: float | None = None) -> SurfacePoint:
        """Find energy and forces, the energy to an error in hartree where one is given."""


class Surface:
    """An energy surface, with a run for every point.

    Attributes:
        make: builds runs.
        config: of the first run, as `VMC.config` describes it.
        folder: where the runs lie.
        settings: how they are made.
        source: directory of a trained run that the first one starts from; None for one that is trained from its start.
        wall_time: seconds after which a run saves and stops; None for no limit.
    """

    def __init__(
        self,
        make: Make,
        config: Mapping[str, Any],
        folder: Path,
        settings: RelaxationSettings,
        source: Path | None = None,
        wall_time: float | None = None,
    ) -> None:
        """Compute nothing yet."""
        self.make, self.config, self.folder, self.settings = make, dict(config), folder, settings
        self.source, self.wall_time, self.start = source, wall_time, time.monotonic()

    def __call__(self, molecule: Molecule, energy_error: float | None = None) -> SurfacePoint:
        """Find energy and forces at a geometry.

        Args:
            molecule: of the same electrons as all points.
            energy_error: standard error of the energy to be reached, in hartree; None where forces alone matter.

        Returns:
            The point.

        Raises:
            ValueError: for several states, if other settings made the runs of before, or if this one finds no energy or
                no forces.
        """
        molecule = rounded(molecule)
        directory, found = self._place(molecule)
        return self._measured(self._run(molecule, directory, found), energy_error)

    @by_first
    def directories(self) -> dict[Path, Molecule]:
        """List the runs there are, in the order in which they were asked for, and their systems."""
        folder = self.folder / GEOMETRIES
        named = sorted(path for path in folder.glob("*") if re.fullmatch(r"\d{3,}", path.name))
        return {path: molecule_of(read_config(path)) for path in named if (path / "config.yaml").exists()}

    def check(self, molecule: Molecule) -> VMC:
        """Build the run of a geometry without starting it, which refuses what cannot be run.

        Args:
            molecule: the system.

        Returns:
            The run.

        Raises:
            ValueError: as when it is called, or what a run refuses.
        """
        molecule = rounded(molecule)
        run = self._run(molecule, *self._place(molecule))
        run.check_start()
        return run

    def _place(self, molecule: Molecule) -> tuple[Path, dict[Path, Molecule]]:
        """Say where the run of a geometry is or will be, and list those there are, which must be of this surface."""
        found = self.directories()
        same = [path for path, other in found.items() if self._check_alike(path, other, molecule) == 0]
        names = (self.folder / GEOMETRIES / f"{number:03d}" for number in count())
        first = self.folder / GEOMETRIES / "000"
        if first in found and is_used(first):  # from which others start
            self._check_settings(first, found[first])
        free = next(path for path in names if path not in found)  # not the number of them, as runs may be deleted
        return (same or [free])[0], found

    def _check_settings(self, first: Path, molecule: Molecule) -> None:
        """Refuse a first run of other settings."""
        old, new = (identity(config) for config in (read_config(first), self._config(molecule, first, {})))
        known = {key: value for key, value in new.items() if key in old}  # not what older versions did not write
        if lines := difference({key: old[key] for key in known}, known):
            changed = "\n".join(lines)
            raise RunDirectoryError(f"{first} holds a run with other settings:\n{changed}\nUse another directory")

    def _check_alike(self, directory: Path, other: Molecule, molecule: Molecule) -> float:
        """Measure how far a point is, and refuse one of other electrons."""
        if any(getattr(other, name) != getattr(molecule, name) for name in ("symbols", "charge", "spin", "ecp")):
            raise RunDirectoryError(
                f"{directory} holds {other.formula} with charge {other.charge} and spin {other.spin}, not "
                f"{molecule.formula} with {molecule.charge} and {molecule.spin}, its atoms in this order and its core "
                "potentials: use another directory"
            )
        return float(np.abs(np.subtract(other.coordinates, molecule.coordinates)).max())

    def _run(self, molecule: Molecule, directory: Path, found: Mapping[Path, Molecule]) -> VMC:
        """Build the run of a point."""
        run = self.make(self._config(molecule, directory, found), directory)
        if run.n_states > 1:
            raise ValueError(f"states={run.n_states}: the structure of the ground state is found by runs of one state")
        return run

    def _config(self, molecule: Molecule, directory: Path, found: Mapping[Path, Molecule]) -> dict[str, Any]:
        """Describe the run of a point."""
        config = self.config | {"system": describe(molecule), "resume": True, "overwrite": False}
        config["observables"] = sorted({*config["observables"], "forces"})
        steps = {"steps": self.settings.evaluation_steps, "target_error": None}
        config["evaluation"] = dict(config["evaluation"]) | steps
        config["seed"] += int(directory.name)
        before = {path: other for path, other in found.items() if path.name < directory.name}
        source = self._nearest(molecule, before) if before else self.source
        if source is not None:
            config |= reoptimising(config, self.settings) | {"init_from": str(source)}
        elif before:
            config["init_from"] = None
        if is_used(directory):  # perhaps under another name of the same folder
            config["init_from"] = read_config(directory).get("init_from")
        return config

    def _nearest(self, molecule: Molecule, before: Mapping[Path, Molecule]) -> Path | None:
        """Say which run a point starts from: the nearest of those before, unless that is far away."""
        nearest = min(before, key=lambda path: math.dist(_flat(before[path]), _flat(molecule)))
        apart = strain(before[nearest].nuclei, molecule.nuclei, molecule.charges.double())
        return nearest if apart < FARTHEST else None

    def _measured(self, run: VMC, energy_error: float | None) -> SurfacePoint:
        """Run, and evaluate until errors are as small as asked for, or as what is left out besides."""
        settings, steps = self.settings, self.settings.evaluation_steps
        while True:
            if self.wall_time is not None:
                run.wall_time = max(self.wall_time - (time.monotonic() - self.start), SHORTEST)
            result = run.train()
            share = forgotten(run.config["optimizer"], result.trained_steps, settings.warmup_steps)
            point = point_of(result, run.molecule, run.directory, share)
            steps = max(steps, result.evaluation_steps)
            excess = 2.0 if point is None else MARGIN * self._excess(point, energy_error)
            if steps >= settings.most_evaluation_steps or excess <= MARGIN:
                break
            steps = min(math.ceil(steps * excess), settings.most_evaluation_steps)
            run = self.make(run.config | {"evaluation": run.config["evaluation"] | {"steps": steps}}, run.directory)
        if point is None:
            raise ValueError(f"{run.directory} has no energy and forces: {_why(result)}")
        return point

    def _excess(self, point: SurfacePoint, energy_error: float | None) -> float:
        """Count how many times the samples of a point it would take."""
        of_forces = point.worst_error / max(self.settings.force_error, own_error(point.distance))
        of_energy = 0.0 if energy_error is None else point.error / max(energy_error, scatter(point.distance))
        return max(of_forces, of_energy) ** 2


def say_replaced(names: Iterable[str]) -> None:
    """Warn of settings that have no effect on a surface.

    Args:
        names: dotted keys that were set.
    """
    for name in sorted({*names} & {*REPLACED}):
        logger.warning("%s has no effect here: set %s", name, REPLACED[name])


def rounded(molecule: Molecule) -> Molecule:
    """Round the positions of nuclei, so that the same geometry is found again."""
    rows = [[round(x, DIGITS) + 0.0 for x in row] for row in molecule.coordinates]
    return moved(molecule, np.array(rows))


def reoptimising(config: Mapping[str, Any], settings: RelaxationSettings) -> dict[str, Any]:
    """Say how a run differs that starts from a trained one near.

    Args:
        config: of the first run.
        settings: how such runs are made.

    Returns:
        The settings that differ.
    """
    optimizer = dict(config["optimizer"])
    steps = settings.steps or steps_to_forget(optimizer, settings.learning_rate, settings.warmup_steps)
    changed: dict[str, Any] = {"steps": steps, "accuracy": None}
    changed["schedule"] = {
        "_target_": "Schedule",
        "decay": "annealed",
        "decay_steps": None,
        "warmup_steps": settings.warmup_steps,
    }
    if "learning_rate" in optimizer:
        changed["optimizer"] = optimizer | {"learning_rate": settings.learning_rate * optimizer["learning_rate"]}
    if config["averaging"].get("start", 0) >= steps:
        changed["averaging"] = dict(config["averaging"]) | {"start": 0}
    return changed


def _flat(molecule: Molecule) -> list[float]:
    return [x for row in molecule.coordinates for x in row]


def _why(result: Result) -> str:
    return result.reason or "the evaluation is too short for the errors of forces"
