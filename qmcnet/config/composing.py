"""Configurations without a command line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qmcnet.config.build import build
from qmcnet.config.naming import config_directory, register_resolvers
from qmcnet.config.schema import ConfigError
from qmcnet.run.description import describe
from qmcnet.run.identity import flatten
from qmcnet.run.vmc import VMC
from qmcnet.system.molecule import Molecule


def composed(molecule: Molecule, settings: Mapping[str, Any], directory: Path) -> VMC:
    """Build a run as `qmcnet-train` would with the settings.

    Args:
        molecule: the system.
        settings: values by key, in groups or with dotted keys; a text for a group chooses among its files.
        directory: the run directory.

    Returns:
        The run.

    Raises:
        ConfigError: for a setting that does not exist, or a value that is refused.
    """
    overrides = [f"{key}={_typed(value)}" for key, value in flatten(settings).items()]
    GlobalHydra.instance().clear()  # as a notebook may have left it
    register_resolvers()
    try:
        with initialize_config_dir(str(config_directory()), version_base="1.3"):
            cfg = compose("config", overrides)
        plain: Any = OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        text = " ".join(str(error).partition("Config search path:")[0].split())
        unknown = re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text)
        raise ConfigError(f"unknown setting {unknown[1] or unknown[2]}" if unknown else text) from error
    return build(plain | {"system": describe(molecule)}, directory)


def _typed(value: Any) -> str:
    """Write a value as it is typed."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
