"""What a user types: names quoted as Hydra wants them, and answers to what it cannot read."""

import difflib
import logging
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qmcnet.config.naming import config_directory
from qmcnet.config.nearest import ask, nearest
from qmcnet.config.schema import ConfigError
from qmcnet.run.identity import flatten

logger = logging.getLogger(__name__)

NAMES = ("path", "run", "output", "init_from", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
"""Keys whose values are names of files and directories, taken as they are."""

AS_HYDRA = {"system": "+system", "+system": "+system", "+observables": "++observables"}
AS_HYDRA |= dict.fromkeys(("+diffusion", "++diffusion"), "diffusion")
"""Keys that Hydra wants with other plus signs than people write: what is new, and what has a default."""

TAKING = {"--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun"}
TAKING |= {"--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
"""Flags of Hydra that take the next word."""


def prepare(arguments: Sequence[str]) -> list[str]:
    """Check arguments, and write them as Hydra reads them.

    Args:
        arguments: the command line without the command.

    Returns:
        The same with names quoted; of a key that is given twice the last value, with a warning.

    Raises:
        ConfigError: for an argument that cannot be read, or a name that is empty.
    """
    sweep = any(argument in ("-m", "--multirun") for argument in arguments)
    prepared: dict[str, str] = {}
    short = _short(arguments)
    for before, argument in zip(["", *arguments], arguments, strict=False):
        key, equals, value = argument.partition("=")
        key = short.get(key, key)
        if argument.startswith(("-", "~")) or before in TAKING:
            prepared[f"{len(prepared)}"] = argument
            continue
        if not equals or not key:
            raise ConfigError(f"{argument} is no setting: type {key or 'KEY'}={value or 'VALUE'}")
        name = key.lstrip("+~")
        if name in prepared:
            logger.warning("%s is given twice: the last value counts, %s", name, argument)
        if name in NAMES:
            value = _name(argument, value.strip(), sweep)
        prepared[name.lower() if key.lower() in AS_HYDRA else name] = text = f"{AS_HYDRA.get(key.lower(), key)}={value}"
        _check_grammar(argument, text)
    return list(prepared.values())


def _short(arguments: Sequence[str]) -> dict[str, str]:
    """Find settings of a system that have a shorter name, such as `bond_length` for `system.bond_length`."""
    names = [
        value for argument in arguments for key, _, value in [argument.partition("=")] if key.lstrip("+") == "system"
    ]
    files = [config_directory() / "system" / f"{name}.yaml" for name in names if re.fullmatch(r"[\w+-]+", name)]
    pairs = [re.findall(r"^  (\w+): \$\{(\w+)\}$", file.read_text(), re.MULTILINE) for file in files if file.exists()]
    return {f"system.{long}": short for found in pairs for long, short in found}


def _name(argument: str, value: str, sweep: bool) -> str:
    if not value:
        raise ConfigError(f"{argument} names nothing: add a file or directory")
    if value[0] in "'\"" or value == "null":
        return value
    return ",".join(quoted(os.path.expanduser(part)) for part in (value.split(",") if sweep else [value]))


def quoted(text: str) -> str:
    """Put a text in quotes for Hydra, to which a backslash before a quote means something.

    Args:
        text: any text.

    Returns:
        The text in single quotes.
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text) + "'"


def _check_grammar(argument: str, prepared: str) -> None:
    try:
        OverridesParser.create().parse_override(prepared)
    except HydraException as error:
        key, _, value = argument.partition("=")
        reason = " ".join(str(error).splitlines()[0].split())
        advice = f"a value with other characters than letters and digits is put in quotes: {key}={quoted(value)}"
        raise ConfigError(f"{argument} cannot be read ({reason}); {advice}") from error


def explain(error: Exception, arguments: Sequence[str], command: str, config: str) -> str:
    """Answer a mistake of the command line that Hydra found.

    Args:
        error: what Hydra raised.
        arguments: the command line without the command, as it was typed.
        command: the name of the command.
        config: name of its configuration.

    Returns:
        One line that says what to do.
    """
    text = " ".join(str(error).partition("Config search path:")[0].split())
    if "hydra_ray_launcher" in text:
        return "hydra/launcher=ray starts runs through Ray: pip install 'qmcnet[ray]'"
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return _about_key(match[1] or match[2], arguments, command, config)
    if match := re.search(r"Could not (?:find|load) '([^']+)/([^'/]+)'(?: Available options in '[^']+': (.*))?", text):
        group, name, options = match[1], match[2], (match[3] or "").split()
        if group == "hydra/launcher" and name.startswith("submitit"):
            return "hydra/launcher=slurm and =several start runs through submitit: pip install 'qmcnet[slurm]'"
        lowered = {option.lower(): option for option in options}
        close = [lowered[found] for found in difflib.get_close_matches(name.lower(), lowered, 3, 0.5)]
        return f"{group}={name}{ask(close)}: {group} is one of {', '.join(options)}"
    return text


def _about_key(key: str, arguments: Sequence[str], command: str, config: str) -> str:
    typed = next((text for text in arguments if text.partition("=")[0].lstrip("+~") == key), f"{key}=")
    others = [argument for argument in arguments if argument != typed]
    known, value = keys_of(config, others), typed.partition("=")[2]
    # Without the others it may be a key; the group that it is in is not what was meant.
    found = nearest(key, [name for name in known if not f"{key}.".startswith(f"{name}.")])
    if key.startswith("diffusion."):
        return f"{key} is for diffusion Monte Carlo, which is not asked for: add diffusion=default"
    if not found:
        group = key.rpartition(".")[0]
        beside = [name for name in known if re.match(rf"{re.escape(group)}\.(?!_)", name) and name != key]
        known_here = (
            f"choose among {', '.join(beside)}" if beside else f"{command} --cfg job shows the keys and their values"
        )
        return f"unknown key {key}: {known_here}"
    if key == "multiplicity" and value.isdigit():
        value = f"{int(value) - 1}"  # n_up - n_down
    return f"unknown key {key}{ask(found)}: type {shlex.join([command, *others, f'{found[0]}={value}'])}"


def keys_of(config: str, overrides: Sequence[str]) -> list[str]:
    """List the keys that may be set in the configuration that some overrides choose.

    Args:
        config: name of the configuration.
        overrides: other arguments of the command line; what cannot be composed with them is left out.

    Returns:
        Dotted keys, groups among them.
    """
    chosen = [text for text in overrides if not text.startswith("-")]
    for attempt in (chosen, [text for text in chosen if text.lstrip("+").startswith("system=")], []):
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(config_directory()), version_base="1.3"):
                plain: Any = OmegaConf.to_container(compose(config, prepare(attempt)), resolve=False)
        except (HydraException, OmegaConfBaseException, ConfigError):  # any of the others may be wrong, too
            continue
        flat = list(flatten(plain))
        return sorted({*flat, *plain, *(key.rpartition(".")[0] for key in flat if "." in key)})
    return []
