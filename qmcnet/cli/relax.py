"""`qmcnet-relax +system=H2O preset=quick`: find the structure at rest, and its vibrations."""

import logging
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.run_log import RunLog
from qmcnet.cli.status import Found, leave_if_failed, outcome, run_jobs
from qmcnet.cli.train import remove_empty, write_hydra_files
from qmcnet.compute.team import team
from qmcnet.config.build import build, load, located, maker
from qmcnet.config.naming import config_directory, register_resolvers
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.geometry.relax import relax
from qmcnet.geometry.surface import Surface, say_replaced
from qmcnet.run.report import report_at_end
from qmcnet.run.vmc import VMC
from qmcnet.stages.stage import Stage
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)

GOAL = ("max_force", "geometries", "frequencies")
OWN = ("run", "relaxation", *GOAL)
"""Keys that qmcnet-train has not."""
WITH_RUN = (*OWN, "device", "devices", "wall_time", "trust", "hydra")
"""Keys that may stand beside run=DIR, whose settings are those of that run."""

statuses: list[int] = []


def prepared(cfg: DictConfig, folder: Path) -> tuple[Surface, Molecule]:
    """Check the settings, and say where the runs come from.

    Args:
        cfg: the composed configuration.
        folder: where the runs go.

    Returns:
        The surface, and where to begin.
    """
    check_own(cfg)
    plain: Any = OmegaConf.to_container(cfg)
    settings = located("relaxation", maker("relaxation", plain["relaxation"], trust=False))()
    source, first = None, None
    say_replaced(text.lstrip("+~").partition("=")[0] for text in HydraConfig.get().overrides.task)
    if cfg.run is None:
        training = OmegaConf.create({key: cfg._get_node(key) for key in cfg if key not in OWN})
        first = build(training, folder)
    else:
        check_beside_run()
        source = Path(str(cfg.run))
        first = load(source, cfg.device, cfg.trust)

    def make(config: Any, directory: Path) -> VMC:
        """Build the run of a geometry."""
        return build(config | {"trust": cfg.trust, "device": str(cfg.device)}, directory)

    return Surface(make, first.config, folder, settings, source, cfg.wall_time), first.molecule


def check_own(cfg: DictConfig) -> None:
    """Refuse keys that are missing or of another kind.

    Args:
        cfg: the composed configuration.

    Raises:
        ConfigError: naming the key.
    """
    if missing := [name for name in OWN if name not in cfg]:
        raise ConfigError(f"{missing[0]} is missing: leave out ~{missing[0]}")
    check_arguments(relax, {name: cfg[name] for name in GOAL})
    check_arguments(VMC, {"wall_time": cfg.wall_time, "device": cfg.device})
    check_arguments(load, {"trust": cfg.trust})


def check_beside_run() -> None:
    """Refuse settings beside run=DIR that would be those of that run.

    Raises:
        ConfigError: naming the first.
    """
    typed = [text.lstrip("+~") for text in HydraConfig.get().overrides.task]
    for text in typed:
        if text.partition("=")[0].partition(".")[0] not in WITH_RUN:
            raise ConfigError(f"{text} beside run=DIR, which has its own settings: leave it out, or run=DIR")


def relaxed(cfg: DictConfig, log: RunLog) -> Found:
    """Relax a geometry.

    Args:
        cfg: the composed configuration.
        log: what has been said so far.

    Returns:
        The structure.
    """
    folder = output()

    def on_claim(run: VMC) -> None:
        """Begin the log and keep what Hydra composed, once nothing is in the way."""
        if team().rank == 0:
            log.open(folder / "relax.log")
        team().alone(lambda: write_hydra_files(cfg, folder / ".hydra"))
        logger.info(run.summary())

    surface, start = prepared(cfg, folder)
    found = relax(surface, start, cfg.max_force, cfg.geometries, cfg.frequencies, on_claim)
    report_at_end(list(surface.directories()), folder)
    return found


def output() -> Path:
    """Where runs and result go."""
    return Path(HydraConfig.get().runtime.output_dir)


def work(cfg: DictConfig) -> int:
    """Relax a geometry, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    with RunLog() as log:
        return outcome(lambda: relaxed(cfg, log))


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        The optimisation of a run that is used for nothing else.
    """
    surface, start = prepared(cfg, output())
    return surface.check(start).trial()


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="relax")
def job(cfg: DictConfig) -> None:
    """Relax one geometry."""
    statuses.append(in_processes(work, cfg, longest))
    team().alone(lambda: remove_empty(output()))
    leave_if_failed(statuses)


def main() -> None:
    """Run `qmcnet-relax`."""
    register_resolvers()
    run_jobs(job, statuses, "relax")
