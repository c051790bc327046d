"""`qmcnet-evaluate run=DIR target_error=1e-4`: sharpen the energy of a trained run."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.status import leave_if_failed, outcome, run_jobs
from qmcnet.cli.trained import loaded, output
from qmcnet.config.naming import config_directory
from qmcnet.report.result import Result
from qmcnet.run.report import report_at_end
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.stage import Stage

statuses: list[int] = []


def evaluate(cfg: DictConfig) -> Result:
    """Load a run and evaluate it.

    Args:
        cfg: the composed configuration.

    Returns:
        The result of the evaluation.
    """
    run, settings = loaded(cfg, EvaluationSettings)
    return run.evaluate(settings, output(cfg), cfg.averaged)


def work(cfg: DictConfig) -> int:
    """Evaluate one run, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    status = outcome(lambda: evaluate(cfg))
    if status == 0 and output(cfg) is None:
        report_at_end([Path(str(cfg.run))], Path(str(cfg.run)))
    return status


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        An evaluation of a run that is used for nothing else.
    """
    run, settings = loaded(cfg, EvaluationSettings)
    return run.trial(settings)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="evaluate")
def job(cfg: DictConfig) -> None:
    """Evaluate one job of a single run or a sweep."""
    statuses.append(in_processes(work, cfg, longest))
    leave_if_failed(statuses)


def main() -> None:
    """Run `qmcnet-evaluate`."""
    run_jobs(job, statuses, "evaluate")
