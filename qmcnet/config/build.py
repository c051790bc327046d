"""Build runs from configurations, and load them from their directories."""

import re
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qmcnet.checks import at_least, one_of
from qmcnet.config.names import PARTIAL, TARGET, constructor, is_group
from qmcnet.config.naming import config_directory, folder, systems
from qmcnet.config.nearest import ask, nearest
from qmcnet.config.schema import ConfigError, check_arguments
from qmcnet.run.description import settings_of
from qmcnet.run.directory import read_config
from qmcnet.run.identity import flatten
from qmcnet.run.vmc import VMC
from qmcnet.stages.diffusion_settings import DiffusionSettings

DTYPES = {"float32": torch.float32, "float64": torch.float64}
PARTS = [name for name in settings_of(VMC) if folder(name).is_dir() and name != "terms"]
SCALARS = [name for name in settings_of(VMC) if name not in (*PARTS, "terms")]
"""Names of the settings of a run besides wavefunction and terms: groups, which have files, and single values."""
LATER = {"init_from", "accuracy"}
"""Settings that the first runs did not have."""


def build(cfg: DictConfig | Mapping[str, Any], directory: str | Path) -> VMC:
    """Build a run from a composed configuration, or from the `config.yaml` of a run.

    Nothing but qmcnet, torch.optim and pytorch_optimizer is imported or called unless the configuration has
    `trust: true`.

    Args:
        cfg: the configuration.
        directory: the run directory.

    Returns:
        The run, ready to train.

    Raises:
        ConfigError: if a key is missing, unknown, or has a value that its constructor refuses, or if an object is named
            that does not belong to qmcnet.
    """
    check_keys(cfg)
    try:
        plain: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
        return _build(plain, directory)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise ConfigError(str(error).split("\n")[0]) from error


def _build(cfg: Mapping[str, Any], directory: str | Path) -> VMC:
    one_of(DTYPES, dtype=cfg["dtype"])
    trust, states = cfg.get("trust", False), cfg.get("states")
    if not isinstance(trust, bool):
        raise ConfigError(f"trust={trust!r} must be true or false")
    parts, scalars = ([name for name in names if name in cfg] for names in (PARTS, SCALARS))
    check_arguments(VMC, {name: cfg[name] for name in scalars})
    at_least(1, states=states if isinstance(states, int) else None)
    makers = {name: maker(name, cfg[name], trust) for name in ("ansatz", *parts)}
    terms = {name: maker(f"terms.{name}", group, trust) for name, group in (cfg.get("terms") or {}).items()}
    makers["system"] = maker("system", cfg["system"], trust)
    with locating("system", outside=[key for key in cfg if key != "system"]):
        molecule = makers.pop("system")()
    if cfg.get("ecp") is not None:
        molecule = molecule.with_ecp(cfg["ecp"])
    with locating("ansatz"):
        ansatz = makers.pop("ansatz")()(molecule, dtype=DTYPES[cfg["dtype"]])
    made = {name: located(name, make)() for name, make in makers.items()}
    made["optimizer"] = located("optimizer", made["optimizer"])
    made["terms"] = {name: located(f"terms.{name}", make()) for name, make in terms.items()}
    with locating("sampler", outside=SCALARS):  # whose blocks only the molecule can judge
        run = VMC(ansatz, directory, **made, **{name: cfg[name] for name in scalars})
    if states not in (None, run.n_states):
        name = type(ansatz).__name__
        raise ConfigError(f"states={states}: {name} has {run.n_states} here; leave out states, or ansatz.n_states")
    return run


@contextmanager
def locating(group: str, outside: Collection[str] = ()) -> Generator[None]:
    """Name an argument that a constructor refuses as a user types it: with its group.

    Args:
        group: dotted key of the group.
        outside: arguments of the constructor that stand outside of the group.

    Yields:
        Nothing.

    Raises:
        ConfigError: for a ValueError that begins with an argument.
        ValueError: any other of the constructor.
    """
    try:
        yield
    except ValueError as error:
        match = re.match(rf"(?:{group}[ .])?((\w+)(?:\[\d+\])?=.*)", str(error), re.DOTALL)
        if match is None or match[2] in outside:
            raise
        raise ConfigError(f"{group}.{match[1]}") from error


def located(group: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """Name an argument that a call refuses as a user types it.

    Args:
        group: dotted key of the group.
        make: what is called.

    Returns:
        The same, with such errors.
    """

    def call(*given: Any) -> Any:
        """Call with the arguments of the call."""
        with locating(group):
            return make(*given)

    return call


def check_keys(cfg: DictConfig | Mapping[str, Any]) -> None:
    """Refuse a configuration without a system, or with keys that nothing reads.

    Args:
        cfg: the configuration.

    Raises:
        ConfigError: naming the key and what to do.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False) if isinstance(cfg, DictConfig) else cfg
    if "system" not in raw:
        raise ConfigError(f"no system: add +system=NAME with NAME one of {', '.join(systems())}")
    used_by_system = set(re.findall(r"\$\{(\w+)\}", str(raw["system"])))
    known = {
        "system",
        "ansatz",
        "dtype",
        "ecp",
        "states",
        "trust",
        "devices",
        "terms",
        "diffusion",
        *PARTS,
        *SCALARS,
        *used_by_system,
    }
    for key, value in flatten(raw).items():
        if value == "???":
            raise ConfigError(f"{key} has no value: add {key}=VALUE")
    defaults = (config_directory() / "config.yaml").read_text(encoding="utf-8")
    parts = [key for key in PARTS if re.search(rf"(- |@){key}:", defaults)]  # others are added by +KEY=NAME
    for key in ("ansatz", "dtype", *parts, *SCALARS):
        if key not in raw and key not in LATER:
            raise ConfigError(f"{key} is missing: leave out ~{key}")
    unknown = [str(key) for key in raw if key not in known]
    if unknown:
        near = ask(nearest(unknown[0], {*known, *flatten(raw)}.difference(unknown)))
        raise ConfigError(f"unknown key {', '.join(unknown)}{near}: this run knows {', '.join(sorted(known))}")


def diffusion_of(cfg: DictConfig) -> DiffusionSettings | None:
    """Read how a run is to go on by diffusion Monte Carlo.

    Args:
        cfg: the configuration of the run.

    Returns:
        The settings; None where it is not to.

    Raises:
        ConfigError: if the group is none, or has a key or value that its constructor refuses.
    """
    if not cfg.get("diffusion"):
        return None
    if "_target_" not in cfg.diffusion:
        raise ConfigError("diffusion Monte Carlo is not asked for: add diffusion=default")
    plain: Any = OmegaConf.to_container(cfg, resolve=True)
    try:
        settings: DiffusionSettings = located("diffusion", maker("diffusion", plain["diffusion"], trust=False))()
    except (ValueError, TypeError) as error:
        raise ConfigError(str(error).split("\n")[0]) from error
    return settings


def maker(name: str, group: Any, trust: bool) -> Callable[[], Any]:
    """Check a group, such as `optimizer`, against the constructor that its `_target_` names.

    Args:
        name: dotted key of the group.
        group: its part of the configuration.
        trust: import and run whatever is named.

    Returns:
        What makes the object, or the partial call of a group with `_partial_`.

    Raises:
        ConfigError: if it names no constructor or one that is not trusted, or has a key or value that the constructor
            does not take.
    """
    if isinstance(group, Mapping) and name in group:
        raise ConfigError(f"{name}.{name}: the file of this {name} lacks its first line, # @package _global_")
    if not is_group(group):
        raise ConfigError(f"{name}={group} is not a group with a _target_: choose one of conf/{name}")
    target = constructor(name, group[TARGET], trust)
    arguments, makers = {}, dict[str, Callable[[], Any]]()
    for key, value in group.items():
        if is_group(value):
            makers[key] = maker(f"{name}.{key}", value, trust)
            arguments[key] = constructor(f"{name}.{key}", value[TARGET], trust)
        elif key not in (TARGET, PARTIAL):
            arguments[key] = value
    check_arguments(target, arguments, f"{name}.")

    def make() -> Any:
        """Make the object, or its partial call."""
        call = partial(target, **arguments | {key: inner() for key, inner in makers.items()})
        return call if group.get(PARTIAL) else call()

    return make


def load(directory: str | Path, device: str = "auto", trust: bool = False) -> VMC:
    """Load a run: its molecule, trained wavefunction and walkers.

    A directory from a stranger may be loaded: it executes nothing.

    Args:
        directory: run directory of `qmcnet-train` or of a `VMC`.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        trust: import and run classes that are no part of qmcnet, if the run names any.

    Returns:
        The run, with the parameters and walkers of its newest checkpoint.

    Raises:
        RunDirectoryError: if the directory holds no run.
        ConfigError: if the run names a class that is no part of qmcnet and is not trusted.
    """
    started = {"device": device, "trust": trust, "resume": True, "overwrite": False}  # however the run was
    return build(read_config(Path(directory)) | started, directory).load_trained()
