"""`qmcnet-evaluate run=DIR target_error=1e-4`: sharpen the energy of a trained run."""

from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.status import leave_if_failed, outcome, run_jobs
from qmcnet.config.build import load
from qmcnet.config.naming import config_directory
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.report.result import Result
from qmcnet.run.vmc import VMC
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.stage import Stage
from qmcnet.states.measurements import check_observables

statuses: list[int] = []

KEYS = ("run", "output", "device", "devices", "wall_time", "trust", "averaged", "observables")
"""All keys but those of `EvaluationSettings`."""


def loaded(cfg: DictConfig) -> tuple[VMC, EvaluationSettings]:
    """Check the settings, and load the run that is to be evaluated.

    Args:
        cfg: the composed configuration.

    Returns:
        The run, and how to evaluate it.

    Raises:
        ConfigError: if no run is named, or a setting is missing or out of range.
    """
    arguments = {str(key): cfg[key] for key in cfg if not OmegaConf.is_missing(cfg, key)}
    if "run" not in arguments:
        raise ConfigError("no run: add run=DIR, the run directory of a finished qmcnet-train")
    if missing := [name for name in KEYS if name not in arguments]:
        raise ConfigError(f"{missing[0]} is missing: leave out ~{missing[0]}")
    given = {name: arguments.pop(name) for name in KEYS}
    observables = given["observables"]
    measured = {} if observables is None else {"observables": observables}
    check_arguments(VMC, {"device": given["device"], "wall_time": given["wall_time"], **measured})
    check_arguments(VMC.evaluate, {"averaged": given["averaged"]})
    check_arguments(load, {"trust": given["trust"]})
    check_arguments(EvaluationSettings, arguments)
    settings = EvaluationSettings(**arguments)
    run = load(str(given["run"]), given["device"], given["trust"])
    run.wall_time = given["wall_time"]
    if observables is not None:
        check_observables(observables)
        run.observables = sorted(observables)
    return run, settings


def evaluate(cfg: DictConfig) -> Result:
    """Load a run and evaluate it.

    Args:
        cfg: the composed configuration.

    Returns:
        The result of the evaluation.
    """
    run, settings = loaded(cfg)
    return run.evaluate(settings, None if cfg.output is None else Path(str(cfg.output)), cfg.averaged)


def work(cfg: DictConfig) -> int:
    """Evaluate one run, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    return outcome(lambda: evaluate(cfg))


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        An evaluation of a run that is used for nothing else.
    """
    run, settings = loaded(cfg)
    return run.trial(settings)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="evaluate")
def job(cfg: DictConfig) -> None:
    """Evaluate one job of a single run or a sweep."""
    statuses.append(in_processes(work, cfg, longest))
    leave_if_failed(statuses)


def main() -> None:
    """Run `qmcnet-evaluate`."""
    run_jobs(job, statuses, "evaluate")
