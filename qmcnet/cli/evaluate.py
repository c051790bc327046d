"""`qmcnet-evaluate run=DIR target_error=1e-4`: sharpen the energy of a trained run."""

import hydra
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from qmcnet.cli.status import leave, outcome
from qmcnet.config import ConfigError, config_directory, load
from qmcnet.training.evaluation import EvaluationSettings
from qmcnet.training.result import Result

statuses: list[int] = []


def evaluate(cfg: DictConfig) -> Result:
    """Load a run and evaluate it.

    Args:
        cfg: the composed configuration.

    Returns:
        The result of the evaluation.

    Raises:
        ConfigError: if no run is named or a setting is out of range.
    """
    try:
        settings = EvaluationSettings(cfg.steps, cfg.target_error, cfg.min_steps, cfg.burn_in)
        run = load(cfg.run, cfg.device)
        run.wall_time = cfg.wall_time
    except MissingMandatoryValue:
        raise ConfigError("no run: add run=DIR, the run directory of a finished qmcnet-train") from None
    return run.evaluate(settings)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="evaluate")
def job(cfg: DictConfig) -> None:
    """Evaluate one job of a single run or a sweep."""
    statuses.append(outcome(lambda: evaluate(cfg)))


def main() -> None:
    """Run `qmcnet-evaluate`."""
    job()
    leave(statuses)
