"""`qmcnet-train +system=N2 bond_length=2.4`: train a wavefunction and report its energy."""

import logging
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.jobs import in_processes
from qmcnet.cli.run_log import RunLog
from qmcnet.cli.status import Found, leave_if_failed, outcome, reasons, run_jobs
from qmcnet.cli.sweep import end_early, keep_failure, statuses
from qmcnet.compute.files import naming
from qmcnet.compute.team import team
from qmcnet.config.build import build, diffusion_of
from qmcnet.config.naming import config_directory, register_resolvers
from qmcnet.report.result import Result
from qmcnet.run.afterwards import diffusing
from qmcnet.run.directory import is_run
from qmcnet.run.interruption import EXIT_STATUS
from qmcnet.run.neighbour import neighbour
from qmcnet.run.report import report_at_end
from qmcnet.run.vmc import VMC
from qmcnet.stages.diffusion import check_wavefunction
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.stages.stage import Stage
from qmcnet.statistics.zero_variance import CHEMICAL_ACCURACY

logger = logging.getLogger(__name__)

SHORTEST = 1e-3
"""Seconds that are left where the wall time is used up: for a single step."""


def train(cfg: DictConfig, directory: Path, log: RunLog) -> Found:
    """Build and train one run, and go on by diffusion Monte Carlo where that is asked for.

    Args:
        cfg: the composed configuration.
        directory: the run directory.
        log: what has been said so far.

    Returns:
        Its result.
    """

    def on_claim() -> None:
        """Begin the log and keep what Hydra composed, in a directory that is this run's."""
        if team().rank == 0 or cfg.logging.all_ranks:
            log.open(directory / (f"train.rank{team().rank}.log" if team().rank else "train.log"))
        team().alone(lambda: write_hydra_files(cfg, directory / ".hydra"))

    start = time.monotonic()
    run, diffusion = planned(cfg, directory)
    logger.info(run.summary())
    result = run.train(on_claim, [] if diffusion is None else [diffusing(run, diffusion)])
    logger.info("TensorBoard:     tensorboard --logdir %s", directory)
    if diffusion is None or not result.succeeded:
        if run.simulation.limited:
            logger.info("its variance does not tell how far the energy is from the exact one: the nodes are limited")
        if run.ensemble.n_states == 1 and (run.simulation.limited or is_far(result)):
            logger.info("to come nearer:  qmcnet-dmc run=%s target_error=1e-3", directory)
        return result
    logger.info(result.summary())
    if run.wall_time is not None:
        run.wall_time = max(run.wall_time - (time.monotonic() - start), SHORTEST)
    return run.diffuse(diffusion)


def is_far(result: Result) -> bool:
    """Tell whether a result says that it is farther from the exact energy than chemical accuracy."""
    return result.distance is not None and result.distance.value > CHEMICAL_ACCURACY


def planned(cfg: DictConfig, directory: Path) -> tuple[VMC, DiffusionSettings | None]:
    """Build a run, and refuse what would end it soon.

    Args:
        cfg: the composed configuration.
        directory: the run directory.

    Returns:
        The run, and how it goes on by diffusion Monte Carlo, if it does.
    """
    run, diffusion = make(cfg, directory), diffusion_of(cfg)
    run.check_start()
    return run, diffusion if diffusion is not None and guides(run) else None


def guides(run: VMC) -> bool:
    """Tell whether walkers can be guided by the wavefunction of a run, and refuse where they are to be.

    Args:
        run: the run.

    Returns:
        Whether they can.

    Raises:
        ValueError: if they cannot, and diffusion Monte Carlo was asked for by more than a preset.
    """
    try:
        check_wavefunction(run.simulation)
    except ValueError as error:
        if any(text.lstrip("+").startswith("diffusion") for text in HydraConfig.get().overrides.task):
            raise
        logger.info("the run ends with the evaluation: %s", error)
        return False
    return True


def make(cfg: DictConfig, directory: Path) -> VMC:
    """Build a run, and let it start from the nearest other one where `init_from=neighbour` asks for that.

    Args:
        cfg: the composed configuration.
        directory: the run directory.

    Returns:
        The run.
    """
    if cfg.get("init_from") != "neighbour":
        return build(cfg, directory)
    run = build(OmegaConf.merge(cfg, {"init_from": None}), directory)  # type: ignore[arg-type]
    run.init_from = neighbour(run, HydraConfig.get().overrides.task)
    return run


def write_hydra_files(cfg: DictConfig, folder: Path) -> None:
    """Keep what Hydra composed, as Hydra itself would.

    Args:
        cfg: the composed configuration.
        folder: where the files go.
    """
    hydra_cfg = HydraConfig.get()
    with naming(folder):
        folder.mkdir(exist_ok=True)
        OmegaConf.save(cfg, folder / "config.yaml")
        OmegaConf.save(OmegaConf.create({"hydra": hydra_cfg}), folder / "hydra.yaml")
        OmegaConf.save(hydra_cfg.overrides.task, folder / "overrides.yaml")


def work(cfg: DictConfig) -> int:
    """Train one run, as the only process or one of several.

    Args:
        cfg: the composed configuration.

    Returns:
        Its exit status.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    with RunLog() as log:
        status, ours = outcome(lambda: train(cfg, directory, log)), log.opened
    if ours and status != EXIT_STATUS:  # who stops a run does not wait
        report_at_end([directory], directory)
    return status


def longest(cfg: DictConfig) -> Stage:
    """Make the stage that most of the time is spent in.

    Args:
        cfg: the composed configuration.

    Returns:
        The optimisation of a run that is used for nothing else.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    return make(cfg, directory).trial()


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")
def job(cfg: DictConfig) -> None:
    """Train one job of a single run or a sweep."""
    do(cfg)  # launchers send a copy of this function to other processes, and with it copies of what it uses


def do(cfg: DictConfig) -> None:
    """Train one run; after a stop signal the rest of a sweep is left for later.

    Args:
        cfg: the composed configuration.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    said = len(reasons)
    if EXIT_STATUS not in statuses:
        statuses.append(in_processes(work, cfg, longest))
    team().alone(lambda: remove_empty(directory))
    if HydraConfig.get().mode is RunMode.MULTIRUN and statuses[-1] != EXIT_STATUS:
        failure = reasons[-1] if len(reasons) > said else "it did not start" * (not is_run(directory))
        team().alone(lambda: keep_failure(directory, failure * (statuses[-1] == 1)))
    end_early()
    leave_if_failed(statuses)


def remove_empty(directory: Path) -> None:
    """Remove a run directory that Hydra made for a run that was refused, and the folder around it, if they are empty.

    Args:
        directory: the run directory.
    """
    for folder in (directory, directory.parent):
        if folder in (Path.cwd(), *Path.cwd().parents):
            return
        try:
            folder.rmdir()
        except OSError:
            return


def main() -> None:
    """Run `qmcnet-train`."""
    register_resolvers()
    run_jobs(job, statuses)
