"""From a Hydra configuration to a run. Only this module and the command line know Hydra and OmegaConf."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qmcnet.training.directory import NOT_IDENTITY, RunDirectoryError
from qmcnet.training.vmc import VMC

PARTS = (
    "laplacian",
    "sampler",
    "optimizer",
    "pretraining",
    "burn_in",
    "evaluation",
    "logging",
    "checkpoints",
)
SCALARS = ("steps", "batch_size", "seed", "device", "wall_time", "resume", "overwrite")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
LONGEST_NAME = 100


class ConfigError(ValueError):
    """Raised for a configuration that cannot become a run."""


def config_directory() -> Path:
    """Where the YAML files are: inside an installed package, beside it in a source tree."""
    shipped = Path(__file__).parent / "conf"
    return shipped if shipped.is_dir() else Path(__file__).parents[1] / "conf"


def systems() -> list[str]:
    """Names that +system=NAME accepts."""
    return sorted(path.stem for path in (config_directory() / "system").glob("*.yaml"))


def run_name(overrides: Sequence[str]) -> str:
    """Name a run after its overrides, so that the same command finds the same directory.

    Overrides that say how long and where a run goes take no part.

    Args:
        overrides: overrides of the command line, such as ['+system=N2', 'bond_length=2.4'].

    Returns:
        A directory name, such as 'N2_bond_length=2.4'.
    """
    parts = []
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if key.split(".")[0] not in NOT_IDENTITY:
            parts.append((key != "system", value if key == "system" else f"{key}={value}"))
    exact = "_".join(text for _, text in sorted(parts)) or "run"
    name = re.sub(r"[^\w.=+,-]", "-", exact)[:LONGEST_NAME]
    return name if name == exact else f"{name}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def register_resolvers() -> None:
    """Make `run_name` available to the configuration files."""
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def build(cfg: DictConfig, directory: str | Path) -> VMC:
    """Build a run from a composed configuration, or from the `config.yaml` of a run.

    Args:
        cfg: the configuration.
        directory: the run directory.

    Returns:
        The run, ready to train.

    Raises:
        ConfigError: if a key is missing, unknown, or has a value that its constructor refuses.
    """
    check_keys(cfg)
    try:
        if cfg.dtype not in DTYPES:
            raise ConfigError(f"dtype={cfg.dtype!r} must be one of {sorted(DTYPES)}")
        molecule = instantiate(cfg.system, _convert_="all")
        ansatz = instantiate(cfg.ansatz, _convert_="all")(molecule, dtype=DTYPES[cfg.dtype])
        parts = {name: instantiate(cfg[name], _convert_="all") for name in PARTS}
        return VMC(ansatz, directory, **parts, **{name: cfg[name] for name in SCALARS})
    except InstantiationException as error:
        raise ConfigError(str(error.__cause__ or error)) from error
    except (OmegaConfBaseException, ValueError) as error:
        raise ConfigError(str(error).split("\n")[0]) from error


def check_keys(cfg: DictConfig) -> None:
    """Refuse a configuration without a system, or with keys that nothing reads.

    Args:
        cfg: the configuration.

    Raises:
        ConfigError: naming the key and what to do.
    """
    if "system" not in cfg:
        raise ConfigError(f"no system: add +system=NAME with NAME one of {', '.join(systems())}")
    used_by_system = set(re.findall(r"\$\{(\w+)\}", OmegaConf.to_yaml(cfg.system, resolve=False)))
    known = {"system", "ansatz", "dtype", *PARTS, *SCALARS, *used_by_system}
    unknown = [str(key) for key in cfg if key not in known]
    if unknown:
        raise ConfigError(
            f"unknown key {', '.join(unknown)}: this system and configuration know {', '.join(sorted(known))}"
        )


def load(directory: str | Path, device: str = "auto") -> VMC:
    """Load a run: its molecule, trained wavefunction and walkers.

    Args:
        directory: run directory of `qmcnet-train` or of a `VMC`.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.

    Returns:
        The run, with the parameters and walkers of its newest checkpoint.

    Raises:
        RunDirectoryError: if the directory holds no run.
    """
    path = Path(directory) / "config.yaml"
    if not path.exists():
        raise RunDirectoryError(f"{directory} holds no run: there is no config.yaml in it")
    cfg: Any = OmegaConf.load(path)
    cfg.device = device
    return build(cfg, directory).load_trained()
