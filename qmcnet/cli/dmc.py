"""`qmcnet-dmc run=DIR timesteps=[0.02,0.01,0.005]`: fixed-node diffusion Monte Carlo with a trained wavefunction."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.status import leave_if_failed, outcome, run_jobs
from qmcnet.cli.trained import loaded, output
from qmcnet.config.naming import config_directory
from qmcnet.report.diffused import Diffused
from qmcnet.run.report import report_at_end
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.stage import Stage

statuses: list[int] = []


def diffuse(cfg: DictConfig) -> Diffused:
    """Load a run and take its walkers through imaginary time.

    Args:
        cfg: the composed configuration.

    Returns:
        The energies.
    """
    run, settings = loaded(cfg, DiffusionSettings)
    return run.diffuse(settings, output(cfg), cfg.averaged)


def work(cfg: DictConfig) -> int:
    """Diffuse with one run, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    status = outcome(lambda: diffuse(cfg))
    if status == 0 and output(cfg) is None:
        report_at_end([Path(str(cfg.run))], Path(str(cfg.run)))
    return status


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        A diffusion of a run that is used for nothing else.
    """
    run, settings = loaded(cfg, DiffusionSettings)
    return Diffusion(run.load_trained().simulation, settings)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="dmc")
def job(cfg: DictConfig) -> None:
    """Diffuse in one job of a single run or a sweep."""
    statuses.append(in_processes(work, cfg, longest))
    leave_if_failed(statuses)


def main() -> None:
    """Run `qmcnet-dmc`."""
    run_jobs(job, statuses, "dmc")
