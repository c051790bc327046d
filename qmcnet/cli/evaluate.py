"""`qmcnet-evaluate run=DIR target_error=1e-4`: sharpen the energy of a trained run."""

import sys

import hydra
from omegaconf import DictConfig, OmegaConf

from qmcnet.cli.status import outcome, run_jobs
from qmcnet.config.build import load
from qmcnet.config.naming import allow_plus, config_directory, quote_run
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.observables.registry import check_observables
from qmcnet.training.evaluation import EvaluationSettings
from qmcnet.training.result import Result
from qmcnet.training.vmc import VMC

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
    if OmegaConf.is_missing(cfg, "run"):
        raise ConfigError("no run: add run=DIR, the run directory of a finished qmcnet-train")
    arguments = {str(key): value for key, value in cfg.items()}
    directory = str(arguments.pop("run"))
    placed = {name: arguments.pop(name) for name in ("device", "wall_time")}
    trust = arguments.pop("trust")
    averaged, observables = arguments.pop("averaged"), arguments.pop("observables")
    check_arguments(VMC, placed if observables is None else {**placed, "observables": observables})
    check_arguments(VMC.evaluate, {"averaged": averaged})
    check_arguments(load, {"trust": trust})
    check_arguments(EvaluationSettings, arguments)
    settings = EvaluationSettings(**arguments)
    run = load(directory, placed["device"], trust)
    run.wall_time = placed["wall_time"]
    if observables is not None:
        check_observables(observables)
        run.observables = sorted(observables)
    return run.evaluate(settings, averaged=averaged)


@hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="evaluate")
def job(cfg: DictConfig) -> None:
    """Evaluate one job of a single run or a sweep."""
    statuses.append(outcome(lambda: evaluate(cfg)))


def main() -> None:
    """Run `qmcnet-evaluate`."""
    sys.argv[1:] = [quote_run(allow_plus(argument)) for argument in sys.argv[1:]]
    run_jobs(job, statuses)
