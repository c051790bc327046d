"""A run is a plan: stages one after the other, maybe from where another run ended."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmcnet.compute.team import by_first
from qmcnet.report.csv_table import mend
from qmcnet.run.checkpoint import Checkpoint, DamagedCheckpoint
from qmcnet.run.directory import RunDirectoryError, unused
from qmcnet.run.driver import Driver
from qmcnet.stages.stage import Stage, StartsAgain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """A stage of a plan, made when its turn comes.

    Attributes:
        kind: its class.
        make: makes it.
        folder: where its statistics go.
        steps: steps to be made, where a finished stage is extended when more are asked for; None where it never is.
    """

    kind: type[Stage]
    make: Callable[[], Stage]
    folder: Path
    steps: int | None = None

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self.kind.name


def execute(
    parts: Sequence[Part],
    driver: Driver,
    begin: Callable[[Driver], None] = lambda _: None,
    follows: Sequence[Part] = (),
) -> dict[str, Mapping[str, Any]]:
    """Walk a plan: skip what checkpoints say is done, restore, drive, conclude.

    Args:
        parts: the stages in their order.
        driver: of the run.
        begin: called before the first stage, where there is no checkpoint to continue from.
        follows: stages of a plan that comes after this one, which the forecast is to tell of, too.

    Returns:
        What each stage found, by its name.
    """
    while True:
        found = newest(parts, driver)
        if found is None:
            begin(driver)
        try:
            return _walk(parts, driver, found, follows)
        except DamagedCheckpoint as damage:
            assert found
            driver.checkpoints.set_aside(found.path, damage)
        except StartsAgain as reason:
            assert found
            logger.warning("%s: the %s starts again", reason, found.stage)
            _set_aside(parts, found, found.stage, driver)


def newest(parts: Sequence[Part], driver: Driver) -> Checkpoint | None:
    """Read the checkpoint to continue from; what comes after a stage that is to be extended is set aside.

    Args:
        parts: the stages in their order.
        driver: of the run.

    Returns:
        The checkpoint; None at the start.
    """
    names, like = [part.name for part in parts], driver.simulation.state_dict()
    found = driver.checkpoints.load_newest(names, like)
    if found is None:
        return None
    before = {name: made for name, made in driver.made.items() if name not in names}
    if any(found.made.get(name, made) != made for name, made in before.items()):
        return None  # it began where the other run was not yet, or was no more
    driver.earlier_seconds = found.state["wall_seconds"]
    place = names.index(found.stage)
    for part in parts[:place]:
        if part.steps is not None and found.made.get(part.name, part.steps) < part.steps:
            logger.info("extending the run to %d %s steps", part.steps, part.name)
            for later in names[names.index(part.name) + 1 : place + 1]:
                _set_aside(parts, found, later, driver)
            return driver.checkpoints.load_newest(names, like)
    return found


@by_first
def _set_aside(parts: Sequence[Part], found: Checkpoint, name: str, driver: Driver) -> None:
    """Keep the files and checkpoints of a stage under a name that says after how many steps it was made."""
    place = [part.name for part in parts].index(name)
    before, folder = found.made.get(parts[place - 1].name, 0), parts[place].folder
    if folder == driver.directory:
        raise RunDirectoryError(f"{folder} holds another {name}, which stays: choose another directory")
    aside = unused(folder.with_name(f"{name}-after-{before:08d}-steps"))
    folder.mkdir(exist_ok=True)
    folder.rename(aside)
    driver.checkpoints.move(name, aside)


def _walk(
    parts: Sequence[Part], driver: Driver, found: Checkpoint | None, follows: Sequence[Part]
) -> dict[str, Mapping[str, Any]]:
    names = [part.name for part in parts]
    place = names.index(found.stage) if found else 0
    for part in parts[:place]:
        if found and part.name in found.made:
            by_first(mend)(part.folder / part.kind.table, found.made[part.name])
    for index, part in enumerate(parts[place:], place):
        stage = part.make()
        if found and part.name == found.stage:
            driver.restore(found, stage)
            logger.info("continuing %s after step %d (%s)", stage.name, stage.step, found.path.name)
        if index == place:
            driver.outlook.foresee(stage, [later.make for later in [*parts[place + 1 :], *follows]])
        driver.run(stage, part.folder)
        driver.findings |= {part.name: stage.conclude(driver.directory)}
    return driver.findings
