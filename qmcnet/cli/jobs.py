"""A job of the command line in as many processes as `devices` asks for."""

import logging
from collections.abc import Callable
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.status import failed, said_by_first
from qmcnet.compute.crew import choose_crew
from qmcnet.compute.launch import launch
from qmcnet.config.naming import register_resolvers

logger = logging.getLogger(__name__)

Work = Callable[[DictConfig], int]
"""What is done with a configuration; returns an exit status."""


def in_processes(work: Work, cfg: DictConfig) -> int:
    """Do a job here, or in several processes that are started for it.

    Args:
        work: what to do, a function of a module.
        cfg: the composed configuration, with `device` and `devices`.

    Returns:
        Its exit status.
    """
    try:
        size = choose_crew(cfg.get("devices", 1), cfg.get("device", "auto"), cfg.get("batch_size"))
    except ValueError as error:
        return failed(error)
    if size == 1:
        return work(cfg)
    status, reason = launch(_in_process, (work, cfg, HydraConfig.get()), size)
    if reason:
        logger.error("error: %s. The same command continues from the newest checkpoint", reason)
    return status


def _in_process(work: Work, cfg: DictConfig, hydra_cfg: Any) -> int:
    """Do a job as one of several processes, for which Hydra is set up as in the first."""
    register_resolvers()
    HydraConfig.instance().cfg = OmegaConf.create({"hydra": hydra_cfg})  # type: ignore[assignment]
    with said_by_first():
        configure_log(hydra_cfg.job_logging, hydra_cfg.verbose)
        return work(cfg)
