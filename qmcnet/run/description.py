"""Descriptions of runs: the configuration that an object was built from."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import torch

from qmcnet.system.molecule import Molecule

LIBRARIES = ("qmcnet", "torch.optim", "pytorch_optimizer")


def public_name(target: str) -> str:
    """Name an object without the modules that it lives in, so that it may move house.

    Args:
        target: where it is imported from, such as 'qmcnet.ansatz.ferminet.FermiNet' or 'torch.optim.adam.Adam'.

    Returns:
        'FermiNet' or 'torch.optim.Adam'; what belongs to neither qmcnet nor a library of optimisers as it is.
    """
    library = next((library for library in LIBRARIES if target.startswith(f"{library}.")), None)
    if library is None:
        return target
    parts = target.split(".")
    first = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[first:] if library == "qmcnet" else [library, *parts[first:]])


def describe(part: Any, partial: bool = False) -> dict[str, Any]:
    """Describe an object as the configuration that builds it.

    Args:
        part: a dataclass, or an object with `settings`.
        partial: whether the configuration leaves arguments to be filled in.

    Returns:
        The public name of its class under `_target_`, and its settings.
    """
    settings = asdict(part) if is_dataclass(part) and not isinstance(part, type) else _settings(part)
    target = {"_target_": public_name(f"{type(part).__module__}.{type(part).__qualname__}")}
    nested = {
        key: value | {"_target_": public_name(value["_target_"])}
        for key, value in settings.items()
        if isinstance(value, dict) and "_target_" in value
    }
    return target | ({"_partial_": True} if partial else {}) | settings | nested


def molecule_of(config: Mapping[str, Any]) -> Molecule:
    """Build the molecule of a run.

    Args:
        config: its configuration.

    Returns:
        The molecule that was described there.
    """
    return Molecule(**{name: value for name, value in config["system"].items() if name != "_target_"})


def _settings(part: Any) -> dict[str, Any]:
    """Read the settings of an object, which only one without arguments of its own may lack."""
    lost = list(inspect.signature(type(part)).parameters)[1:]  # the first is what a partial call leaves open
    if not hasattr(part, "settings") and lost:
        name = type(part).__name__
        raise ValueError(f"{name} must keep its arguments {', '.join(lost)} as `settings`, which a run stores")
    found: dict[str, Any] = getattr(part, "settings", {})
    return found


def defaults_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Look up what a run does where a setting is left out, which is what it did before there was the setting.

    Args:
        parts: what the groups of its configuration built, by name.

    Returns:
        Default of every setting that has one, by its dotted key.
    """
    signatures = {name: inspect.signature(type(part)) for name, part in parts.items() if hasattr(part, "__dict__")}
    return {
        f"{name}.{setting.name}": setting.default
        for name, signature in signatures.items()
        for setting in signature.parameters.values()
        if setting.default is not setting.empty
    }


def settings_of(run: Callable[..., Any]) -> list[str]:
    """List the settings of a run, which are the arguments that have a default.

    Args:
        run: class of runs.

    Returns:
        Their names.
    """
    return [name for name, given in inspect.signature(run).parameters.items() if given.default is not given.empty]


def described(setting: Any, partial: bool = False) -> Any:
    """Describe a setting: an object as what builds it, objects by name one by one, and a plain value as it is.

    Args:
        setting: the value.
        partial: whether the configuration leaves arguments to be filled in.

    Returns:
        Plain values and nested dictionaries.
    """
    if isinstance(setting, dict):
        return {name: describe(part, partial=True) for name, part in setting.items()}
    plain = setting is None or isinstance(setting, bool | int | float | str | list | torch.device)
    return (str(setting) if isinstance(setting, torch.device) else setting) if plain else describe(setting, partial)
