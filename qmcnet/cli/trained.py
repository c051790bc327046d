"""What the commands that continue from a trained run share: they check settings, and load the run that is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from qmcnet.config.build import load
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.run.vmc import VMC
from qmcnet.states.measurements import check_observables

KEYS = ("run", "output", "device", "devices", "wall_time", "trust", "averaged", "observables")
"""All keys but those of the settings of the command."""

Settings = TypeVar("Settings")


def loaded(cfg: DictConfig, kind: Callable[..., Settings]) -> tuple[VMC, Settings]:
    """Check the settings, and load the run.

    Args:
        cfg: the composed configuration.
        kind: class of the settings of the command.

    Returns:
        The run, and the settings.

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
    observables = given["observables"]
    measured = {} if observables is None else {"observables": observables}
    check_arguments(VMC, {"device": given["device"], "wall_time": given["wall_time"], **measured})
    check_arguments(VMC.evaluate, {"averaged": given["averaged"]})
    check_arguments(load, {"trust": given["trust"]})
    check_arguments(kind, arguments)
    settings = kind(**arguments)
    run = load(str(given["run"]), given["device"], given["trust"])
    run.wall_time = given["wall_time"]
    if observables is not None:
        check_observables(observables, run.ensemble, run.hamiltonian)
        run.observables = sorted(observables)
    return run, settings


def output(cfg: DictConfig) -> Path | None:
    """Read where state and result go; None for the run directory."""
    return None if cfg.output is None else Path(str(cfg.output))
