"""`qmcnet-train +system=N2 bond_length=2.4`: train a wavefunction and report its energy."""

import logging
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.status import outcome, run_jobs
from qmcnet.config.build import build
from qmcnet.config.naming import allow_plus, config_directory, register_resolvers
from qmcnet.training.interruption import EXIT_STATUS
from qmcnet.training.result import Result

logger = logging.getLogger(__name__)
statuses: list[int] = []


def train(cfg: DictConfig) -> Result:
    """Build and train one run.

    Args:
        cfg: the composed configuration.

    Returns:
        Its result.
    """
    directory = Path(HydraConfig.get().runtime.output_dir)
    run = build(cfg, directory)
    logger.info(run.summary())
    result = run.train(lambda: write_hydra_files(cfg, directory / ".hydra"))
    logger.info("TensorBoard:     tensorboard --logdir %s", directory)
    return result


def write_hydra_files(cfg: DictConfig, folder: Path) -> None:
    """Keep what Hydra composed, as Hydra itself would.

    Args:
        cfg: the composed configuration.
        folder: where the files go.
    """
    folder.mkdir(exist_ok=True)
    hydra_cfg = HydraConfig.get()
    OmegaConf.save(cfg, folder / "config.yaml")
    OmegaConf.save(OmegaConf.create({"hydra": hydra_cfg}), folder / "hydra.yaml")
    OmegaConf.save(hydra_cfg.overrides.task, folder / "overrides.yaml")


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")
def job(cfg: DictConfig) -> None:
    """Train one job of a single run or a sweep; after a stop signal the rest of a sweep is left for later."""
    if EXIT_STATUS not in statuses:
        statuses.append(outcome(lambda: train(cfg)))


def main() -> None:
    """Run `qmcnet-train`."""
    register_resolvers()
    sys.argv[1:] = [allow_plus(argument) for argument in sys.argv[1:]]
    run_jobs(job, statuses)
