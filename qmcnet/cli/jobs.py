"""A job of the command line in as many processes as `devices` asks for."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.status import failed, said_by_first
from qmcnet.compute.crew import choose_crew, n_cores
from qmcnet.compute.launch import launch
from qmcnet.compute.process import prepare_process
from qmcnet.config.naming import register_resolvers
from qmcnet.stages.scaling import seconds_per_step
from qmcnet.stages.stage import Stage

logger = logging.getLogger(__name__)

Work = Callable[[DictConfig], int]
"""What is done with a configuration; returns an exit status."""
Make = Callable[[DictConfig], Stage]
"""Makes the stage that most of the time is spent in, to measure with."""
WORTH = 0.9
"""Several processes have to save a tenth of the time, since they take some to start."""


def in_processes(work: Work, cfg: DictConfig, make: Make) -> int:
    """Do a job here, or in several processes that are started for it.

    Args:
        work: what to do, a function of a module.
        cfg: the composed configuration, with `device` and `devices`.
        make: makes what `devices=auto` measures, a function of a module.

    Returns:
        Its exit status.
    """
    try:
        how = (cfg.get("devices", 1), cfg.get("device", "auto"), cfg.get("batch_size"))
        size = choose_crew(*how, lambda: fastest_crew(make, cfg))
    except ValueError as error:
        return failed(error)
    if size == 1:
        return work(cfg)
    status, reason = launch(_in_process, (work, cfg, HydraConfig.get()), size)
    if reason:
        logger.error("error: %s. The same command continues from the newest checkpoint", reason)
    return 1 if status is None else status


def _in_process(work: Callable[[DictConfig], Any], cfg: DictConfig, hydra_cfg: Any) -> Any:
    """Do a job as one of several processes, for which Hydra is set up as in the first."""
    register_resolvers()
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra_cfg})  # type: ignore[assignment]
    with said_by_first():
        configure_log(hydra_cfg.job_logging, hydra_cfg.verbose)
        return work(cfg)


def fastest_crew(make: Make, cfg: DictConfig) -> int:
    """Time a few steps in one process, and in as many as there are cores and half as many.

    Args:
        make: makes the stage.
        cfg: the composed configuration.

    Returns:
        The number of processes whose steps are shortest.
    """
    seconds = dict[int, float]()
    for size in sorted({1, n_cores(), n_cores() // 2} - {0}):
        given = (partial(_trial, make), cfg, HydraConfig.get())
        found = _trial(make, cfg) if size == 1 else launch(_in_process, given, size)[0]
        seconds |= {size: found} if found else {}
    if not seconds:  # what goes wrong will go wrong again, and be said then
        return 1
    best = min(seconds, key=lambda size: seconds[size] * (WORTH if size == 1 else 1))
    shown = ", ".join(f"{size}: {found:.3g} s" for size, found in seconds.items())
    logger.info("devices=%d, chosen by seconds per step: %s", best, shown)
    return best


def _trial(make: Make, cfg: DictConfig) -> float | None:
    prepare_process()
    logging.disable()  # the run itself will say the same
    try:
        return seconds_per_step(make(cfg))
    except Exception:  # whatever a run can meet, such as a lack of memory; it will say so
        return None
    finally:
        logging.disable(logging.NOTSET)
