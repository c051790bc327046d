"""`qmcnet-info +system=N2 preset=quick`: what qmcnet-train would do with the same arguments, and how long it takes."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.status import outcome, run_jobs
from qmcnet.cli.train import planned, remove_empty
from qmcnet.compute.process import prepare_process
from qmcnet.config.meanings import meanings
from qmcnet.config.naming import config_directory, register_resolvers
from qmcnet.run.afterwards import diffusing
from qmcnet.run.identity import flatten
from qmcnet.stages.outlook import Outlook

logger = logging.getLogger(__name__)
statuses: list[int] = []


class Told:
    """A result of a command that only tells."""

    succeeded = True

    def __init__(self, text: str) -> None:
        """Keep what is to be told."""
        self.text = text

    def summary(self) -> str:
        """Tell it."""
        return self.text


def info(cfg: DictConfig) -> Told:
    """Make a run as qmcnet-train would, and time a few steps of it.

    Args:
        cfg: the composed configuration.

    Returns:
        The settings, with what they mean. System, network and forecast are logged before.
    """
    prepare_process()
    directory = Path(HydraConfig.get().runtime.output_dir)
    with TemporaryDirectory() as scratch:
        run, diffusion = planned(cfg, Path(scratch))
        logger.info("%s", run.summary().replace(scratch, str(directory)))
        first, *later = [*run.parts(), *([] if diffusion is None else [diffusing(run, diffusion)])]
        Outlook(run.simulation, run.wall_time).foresee(first.make(), [part.make for part in later])
    known = meanings(HydraConfig.get().runtime.choices)
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    settings = {key: value for key, value in flatten(plain).items() if not key.rpartition(".")[2].startswith("_")}
    width = max(map(len, settings))
    lines = [f"{key:<{width}}  {_text(value):<12}  {known.get(key, '')}".rstrip() for key, value in settings.items()]
    return Told("\n".join(["settings", *lines]))


def _text(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="config")
def job(cfg: DictConfig) -> None:
    """Tell what one job of a single run or a sweep would do."""
    statuses.append(outcome(lambda: info(cfg)))
    remove_empty(Path(HydraConfig.get().runtime.output_dir))


def main() -> None:
    """Run `qmcnet-info`."""
    register_resolvers()
    run_jobs(job, statuses)
