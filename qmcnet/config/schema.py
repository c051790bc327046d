"""The signature of a constructor is the schema of its part of the configuration."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Union, Unpack, get_args, get_origin, get_type_hints

import torch

from qmcnet.config.nearest import ask, nearest

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
    torch.device: "a device",
}


class ConfigError(ValueError):
    """Raised for a configuration that cannot become a run."""


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
            near = ask(f"{prefix}{key}" for key in nearest(name, hints))
            raise ConfigError(f"unknown key {prefix}{name}{near}: choose among {', '.join(hints)}")
        hint = hints.get(name, Any)
        if not fits(value, hint):
            allowed = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
            words = " or ".join(WORDS.get(get_origin(kind) or kind, str(kind)) for kind in allowed)
            shown = "null" if value is None else repr(value)
            quotes = "; in a file, words that YAML reads as true or false (no, on, yes) are put in quotes"
            raise ConfigError(f"{prefix}{name}={shown} must be {words}{quotes if isinstance(value, bool) else ''}")


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
