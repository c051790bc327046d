"""What is done with a trained wavefunction, in a folder of its own: further evaluations, diffusion Monte Carlo."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from qmcnet.compute.process import prepare_process
from qmcnet.compute.team import team
from qmcnet.report.diffused import Diffused
from qmcnet.report.result import Result
from qmcnet.run.checkpoint import Checkpoints
from qmcnet.run.conclusion import conclude, conclude_diffusion
from qmcnet.run.directory import RunDirectoryError
from qmcnet.run.driver import Driver
from qmcnet.run.interruption import Interruption
from qmcnet.run.lock import lock
from qmcnet.run.plan import Part, execute
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.optimization import Optimization

if TYPE_CHECKING:
    from qmcnet.run.vmc import VMC

logger = logging.getLogger(__name__)
Findings = Mapping[str, Mapping[str, Any]]
Outcome = TypeVar("Outcome", Result, Diffused)


def evaluate_further(run: "VMC", settings: EvaluationSettings, directory: Path | None, averaged: bool) -> Result:
    """Evaluate the trained wavefunction of a run.

    Args:
        run: the run.
        settings: how long to evaluate.
        directory: where the evaluation keeps its state and result; None for inside the run directory.
        averaged: of a run that averages its parameters, evaluate the average and not the last ones.

    Returns:
        The energy with its error bar.
    """
    folder = directory or run.directory / Evaluation.name / settings.label(averaged, run.observables)

    def end(found: Findings, driver: Driver) -> Result:
        """Write the result."""
        return conclude(found, driver, run.molecule, run.config)

    return after_training(run, averaged, run.evaluating(settings, folder), end)


def diffuse(run: "VMC", settings: DiffusionSettings, directory: Path | None, averaged: bool) -> Diffused:
    """Take the trained walkers of a run through imaginary time.

    Args:
        run: the run.
        settings: time steps, and how long to diffuse.
        directory: where state and result are kept; None for inside the run directory.
        averaged: of a run that averages its parameters, take the average and not the last ones.

    Returns:
        The energies at all time steps, and at none.
    """

    def resize() -> None:
        """Take as many walkers as are asked for."""
        walkers = run.simulation.walkers
        run.simulation.walkers = walkers.replace(positions=copies(walkers.positions, settings.walkers))

    def end(found: Findings, driver: Driver) -> Diffused:
        """Write the result."""
        whole = Result.found(run.directory / "result.json")
        return conclude_diffusion(found, driver, run.molecule, run.config, whole)

    return after_training(run, averaged, diffusing(run, settings, directory, averaged), end, resize)


def diffusing(run: "VMC", settings: DiffusionSettings, directory: Path | None = None, averaged: bool = True) -> Part:
    """Plan a diffusion with the wavefunction and walkers that a run will have then.

    Args:
        run: the run.
        settings: time steps, and how long to diffuse.
        directory: where state and result are kept; None for inside the run directory.
        averaged: of a run that averages its parameters, whether the average is taken and not the last ones.

    Returns:
        The stage.
    """
    folder = directory or run.directory / Diffusion.name / settings.label(averaged, run.observables)
    return Part(Diffusion, lambda: Diffusion(run.simulation, settings, run.observables), folder)


def copies(positions: Tensor, count: int | None) -> Tensor:
    """Take each of some walkers as often as all others, up to one.

    Args:
        positions: where they are, shape (B, N, 3), in bohr.
        count: how many there are to be; None for as many as there are.

    Returns:
        Shape (count, N, 3).
    """
    number = len(positions) if count is None else count
    return positions[torch.arange(number, device=positions.device) * len(positions) // number]


def after_training(
    run: "VMC",
    averaged: bool,
    part: Part,
    end: Callable[[Findings, Driver], Outcome],
    prepare: Callable[[], None] = lambda: None,
) -> Outcome:
    """Make a stage with the trained wavefunction and walkers of a run, or continue it.

    Args:
        run: the run, whose directory is left as it is but for the folder of the stage.
        averaged: of a run that averages its parameters, take the average and not the last ones.
        part: the stage.
        end: makes the result of what stages found.
        prepare: called once the trained wavefunction and walkers are there.

    Returns:
        What `end` returns.

    Raises:
        RunDirectoryError: if the run has not been trained.
    """
    prepare_process()
    stages = [Optimization.name] + [Evaluation.name] * averaged
    trained = Checkpoints(run.directory / "checkpoints", 1).load_newest(stages, run.simulation.state_dict())
    if trained is None:
        raise RunDirectoryError(f"{run.directory} holds no trained wavefunction yet; finish qmcnet-train first")
    folder = part.folder
    with team().alone(lambda: lock(folder)), Interruption(run.wall_time) as interruption:
        driver = run.driver(folder, interruption)
        driver.begin(trained)
        driver.findings = run.adopt(trained, averaged)
        prepare()
        made = driver.made.get(Optimization.name, 0)
        if made < run.steps:
            logger.warning("training stopped after %d of %d steps: no more is made", made, run.steps)
        driver.draw_anew(f"{part.name} in {os.path.relpath(folder, run.directory)} after {made} steps")
        return end(execute([part], driver), driver)
