"""`qmcnet-dmc run=DIR timesteps=[0.02,0.01,0.005]`: fixed-node diffusion Monte Carlo with a trained wavefunction."""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.status import leave_if_failed, outcome, run_jobs
from qmcnet.config.build import load
from qmcnet.config.naming import config_directory
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.report.diffused import Diffused
from qmcnet.run.vmc import VMC
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.stage import Stage
from qmcnet.states.measurements import check_observables

statuses: list[int] = []

KEYS = ("run", "output", "device", "devices", "wall_time", "trust", "averaged", "observables")
"""All keys but those of `DiffusionSettings`."""


def loaded(cfg: DictConfig) -> tuple[VMC, DiffusionSettings]:
    """Check the settings, and load the run whose wavefunction guides the walkers.

    Args:
        cfg: the composed configuration.

    Returns:
        The run, and how to diffuse.

    Raises:
        ConfigError: if no run is named, or a setting is missing or out of range.
    """
    plain: Any = OmegaConf.to_container(cfg)
    arguments = {str(key): plain[key] for key in cfg if not OmegaConf.is_missing(cfg, key)}
    if "run" not in arguments:
        raise ConfigError("no run: add run=DIR, the run directory of a finished qmcnet-train")
    if missing := [name for name in KEYS if name not in arguments]:
        raise ConfigError(f"{missing[0]} is missing: leave out ~{missing[0]}")
    given = {name: arguments.pop(name) for name in KEYS}
    check_arguments(VMC, {"device": given["device"], "wall_time": given["wall_time"]})
    check_arguments(VMC.diffuse, {"averaged": given["averaged"]})
    check_arguments(load, {"trust": given["trust"]})
    check_arguments(DiffusionSettings, arguments)
    settings = DiffusionSettings(**arguments)
    run = load(str(given["run"]), given["device"], given["trust"])
    run.wall_time = given["wall_time"]
    check_observables(given["observables"])
    run.observables = sorted(given["observables"])
    return run, settings


def diffuse(cfg: DictConfig) -> Diffused:
    """Load a run and take its walkers through imaginary time.

    Args:
        cfg: the composed configuration.

    Returns:
        The energies.
    """
    run, settings = loaded(cfg)
    return run.diffuse(settings, None if cfg.output is None else Path(str(cfg.output)), cfg.averaged)


def work(cfg: DictConfig) -> int:
    """Diffuse with one run, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    return outcome(lambda: diffuse(cfg))


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        A diffusion of a run that is used for nothing else.
    """
    run, settings = loaded(cfg)
    return Diffusion(run.load_trained().simulation, settings)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="dmc")
def job(cfg: DictConfig) -> None:
    """Diffuse in one job of a single run or a sweep."""
    statuses.append(in_processes(work, cfg, longest))
    leave_if_failed(statuses)


def main() -> None:
    """Run `qmcnet-dmc`."""
    run_jobs(job, statuses, "dmc")
