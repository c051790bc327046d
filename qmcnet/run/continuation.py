"""Where a run continues: from its result, from its newest checkpoint, or from that of an earlier stage."""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from qmcnet.report.result import Result
from qmcnet.run.checkpoint import Checkpoints, Milestone
from qmcnet.run.directory import unused
from qmcnet.run.driver import Driver
from qmcnet.stages.evaluation import Evaluation, EvaluationSettings

logger = logging.getLogger(__name__)


def finished(
    directory: Path, evaluation: EvaluationSettings, observables: Collection[str], steps: int
) -> Result | None:
    """Read the result of a run that has nothing left to do.

    Args:
        directory: run directory, which holds this run.
        evaluation: how long to evaluate.
        observables: what is to be measured.
        steps: optimisation steps to make.

    Returns:
        The result; None if there is none, or not one of so many steps and observables.
    """
    result = Result.found(directory / "result.json")
    if result is None:
        return None
    enough = evaluation.met_by(result.evaluation_steps, result.largest_error)
    measured = set(observables) <= set(result.metadata["observables"])
    return result if enough and measured and result.trained_steps >= steps else None


def newest(
    driver: Driver, steps: int, measured: Callable[[dict[str, Any]], bool]
) -> tuple[Path, dict[str, Any]] | None:
    """Read the checkpoint to continue from; an evaluation that is not to be continued is set aside.

    Args:
        driver: of the run.
        steps: optimisation steps to make.
        measured: whether a saved evaluation can be continued.

    Returns:
        The file and its content; None at the start.
    """
    like = driver.simulation.state_dict()
    found = driver.checkpoints.load_newest(like=like)
    driver.earlier_seconds = found[1]["wall_seconds"] if found else 0.0
    if not found or Milestone.parse(found[0]).order != Evaluation.order:
        return found
    trained = Milestone.parse(found[0]).trained
    if trained < steps:
        logger.info("extending the run to %d optimisation steps", steps)
    elif measured(found[1]["stage_state"]):
        return found
    else:
        logger.warning("these observables were not measured before: the evaluation starts again")
    _set_evaluation_aside(driver.directory, driver.checkpoints, trained)
    return driver.checkpoints.load_newest(like=like)


def _set_evaluation_aside(directory: Path, checkpoints: Checkpoints, trained: int) -> None:
    """Keep an earlier evaluation and its checkpoints under a name of its own."""
    folder, aside = directory / "evaluation", unused(directory / f"evaluation-after-{trained:08d}-steps")
    folder.mkdir(exist_ok=True)
    folder.rename(aside)
    checkpoints.move(Evaluation.order, aside)
