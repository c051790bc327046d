"""From a Hydra configuration to a run. Only this module and the command line know Hydra and OmegaConf."""

import hashlib
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, Unpack, get_args, get_origin, get_type_hints

import torch
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qmcnet.training.description import PARTS, SCALARS
from qmcnet.training.directory import RunDirectoryError, flatten, in_identity
from qmcnet.training.vmc import VMC

DTYPES = {"float32": torch.float32, "float64": torch.float64}
WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    Sequence: "a list",
    tuple: "a list",
    dict: "{name: value, ...}",
    types.NoneType: "null",
}
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
        if in_identity(key):
            parts.append((key != "system", value if key == "system" else f"{key}={value}"))
    exact = "_".join(text for _, text in sorted(parts)) or "run"
    name = re.sub(r"[^\w.=+,-]", "-", exact)[:LONGEST_NAME]
    return name if name == exact else f"{name}-{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def quote_run(argument: str) -> str:
    """Quote the directory in run=DIR, whose name may hold `=` and `,`, which mean something else to Hydra.

    Args:
        argument: an argument of the command line.

    Returns:
        The argument as Hydra reads it.
    """
    key, _, value = argument.partition("=")
    if key != "run" or value[:1] in ("", "'", '"'):
        return argument
    escaped = value.replace("'", "\\'")
    return f"run='{escaped}'"


def allow_plus(argument: str) -> str:
    """Let +observables=[...] set what has a default, for which Hydra wants two plus signs or none.

    Args:
        argument: an argument of the command line.

    Returns:
        The argument as Hydra reads it.
    """
    return f"+{argument}" if argument.startswith("+observables=") else argument


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
        check_arguments(VMC, {name: cfg[name] for name in SCALARS})
        for name in ("system", "ansatz", *PARTS):
            check_group(name, cfg[name])
        molecule = instantiate(cfg.system, _convert_="all")
        ansatz = instantiate(cfg.ansatz, _convert_="all")(molecule, dtype=DTYPES[cfg.dtype])
        if cfg.get("states", 1) not in (1, ansatz.settings.get("n_states", 1)):
            raise ConfigError(f"states={cfg.states}: {type(ansatz).__name__} has a single state; leave out states")
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
    known = {"system", "ansatz", "dtype", "states", *PARTS, *SCALARS, *used_by_system}
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    for key, value in flatten(raw).items():
        if value == "???":
            raise ConfigError(f"{key} has no value: add {key}=VALUE")
    for key in ("ansatz", "dtype", *PARTS, *SCALARS):
        if key not in cfg:
            raise ConfigError(f"{key} is missing: leave out ~{key}")
    unknown = [str(key) for key in cfg if key not in known]
    if unknown:
        raise ConfigError(
            f"unknown key {', '.join(unknown)}: this system and configuration know {', '.join(sorted(known))}"
        )


def check_group(name: str, group: Any) -> Callable[..., Any]:
    """Check the values of a group, such as `optimizer`, against the constructor that its `_target_` names.

    Args:
        name: name of the group.
        group: its part of the configuration.

    Returns:
        The constructor.

    Raises:
        ConfigError: if it names no constructor, or has a key or value that the constructor does not take.
    """
    values = OmegaConf.to_container(group, resolve=True) if isinstance(group, DictConfig) else group
    if not isinstance(values, dict) or "_target_" not in values:
        raise ConfigError(f"{name}={group} is not a group with a _target_: choose one of conf/{name}")
    try:
        constructor = get_object(values["_target_"])
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{name}._target_={values['_target_']!r} cannot be imported: {error}") from error
    arguments = {str(key): value for key, value in values.items() if key not in ("_target_", "_partial_")}
    for key, value in arguments.items():
        if isinstance(value, dict) and "_target_" in value:
            arguments[key] = check_group(f"{name}.{key}", value)
    check_arguments(constructor, arguments, f"{name}.")
    return constructor


def check_arguments(constructor: Callable[..., Any], arguments: Mapping[str, Any], prefix: str = "") -> None:
    """Check names and types of arguments against a signature, which is the schema of the configuration.

    Args:
        constructor: class or function with annotated parameters.
        arguments: the arguments by name.
        prefix: put before the names in messages.

    Raises:
        ConfigError: naming the argument, its value and what is allowed.
    """
    hints, open_ended = argument_types(constructor)
    for name, value in arguments.items():
        if name not in hints and not open_ended:
            raise ConfigError(f"unknown key {prefix}{name}: choose among {', '.join(hints)}")
        hint = hints.get(name, Any)
        if not fits(value, hint):
            allowed = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
            words = " or ".join(WORDS.get(get_origin(kind) or kind, str(kind)) for kind in allowed)
            shown = "null" if value is None else repr(value)
            raise ConfigError(f"{prefix}{name}={shown} must be {words}")


def argument_types(constructor: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """List the arguments of a constructor, those of an unpacked TypedDict one by one.

    Args:
        constructor: class or function with annotated parameters.

    Returns:
        Type of each argument by name, and whether it takes any others.
    """
    hints, open_ended = dict[str, Any](), False
    for name, parameter in inspect.signature(constructor, eval_str=True).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            hints[name] = parameter.annotation
        elif get_origin(parameter.annotation) is Unpack:
            hints |= get_type_hints(get_args(parameter.annotation)[0])
        else:
            open_ended = True
    return hints, open_ended


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value has an annotated type; whole numbers pass as numbers.

    Args:
        value: a value from a configuration: a scalar, a list or a dictionary.
        hint: a type, a generic or a union.

    Returns:
        Whether it fits; what is inside a list or dictionary is left to the constructor.
    """
    kind = get_origin(hint) or hint
    if kind in (Union, types.UnionType):
        return any(fits(value, choice) for choice in get_args(hint))
    if kind in (Any, inspect.Parameter.empty) or not isinstance(kind, type):
        return True
    # True is an int and a text is a sequence to Python, but not to a person.
    if isinstance(value, bool | str):
        return kind is type(value)
    return isinstance(value, {float: (int, float), tuple: (list, tuple)}.get(kind, kind))


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
