"""Which objects a configuration may name: those that ship with qmcnet, and the optimisers of torch and its library.

A name is looked up before anything is imported, since importing a module runs it. The files in `conf/` are the list:
what a file of a group names may stand in that group. Anything else is somebody's code, for which the user has to vouch.
"""

import importlib
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import yaml
from hydra.utils import get_object

from qmcnet.config.naming import folder
from qmcnet.config.schema import ConfigError
from qmcnet.run.description import public_name

TARGET, PARTIAL = "_target_", "_partial_"
LIBRARIES = {"optimizer.method": ("torch.optim", "pytorch_optimizer")}


@cache
def shipped(key: str) -> Mapping[str, str]:
    """List the objects that a group of the configuration may name.

    Args:
        key: dotted key of the group, such as 'ansatz'.

    Returns:
        Where to import each from, by its public name.
    """
    files = sorted(folder(key.split(".")[0] if key.startswith("terms.") else key).glob("*.yaml"))
    groups = [content.get(key, content) for content in map(_content, files)]
    targets = [group[TARGET] for group in groups if TARGET in group]
    if key == "system":  # what every way to make a molecule is stored as
        targets.append("qmcnet.system.molecule.Molecule")
    return {public_name(target): target for target in targets}


def _content(path: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def constructor(key: str, target: Any, trust: bool) -> Callable[..., Any]:
    """Find what a `_target_` names.

    Args:
        key: dotted key of the group that names it.
        target: the name, public or with its module.
        trust: import and run whatever is named.

    Returns:
        A class or function.

    Raises:
        ConfigError: if it does not exist, or is neither listed nor trusted; then nothing has been imported.
    """
    name = public_name(str(target))
    location = shipped(key).get(name) or _of_library(key, name)
    if location is None and not trust:
        known = [*shipped(key), *(f"an optimiser of {library}" for library in LIBRARIES.get(key, ()))]
        raise ConfigError(
            f"{key}.{TARGET}={target!r} is not part of qmcnet, whose choice is {', '.join(known) or 'none'}. "
            "trust=true runs code from elsewhere: add it only if you know that code"
        )
    try:
        found: Callable[..., Any] = get_object(location or str(target))
    except Exception as error:  # a trusted module may fail in any way while it is imported
        raise ConfigError(f"{key}.{TARGET}={target!r} cannot be imported: {error}") from error
    return found


def _of_library(key: str, name: str) -> str | None:
    """Return the name itself if it is an optimiser at the top of an allowed library."""
    for library in LIBRARIES.get(key, ()):
        match = re.fullmatch(rf"{re.escape(library)}\.([A-Za-z]\w*)", name)
        found = getattr(importlib.import_module(library), match[1], None) if match else None
        if isinstance(found, type) and issubclass(found, torch.optim.Optimizer):
            return name
    return None


def is_group(value: Any) -> bool:
    """Tell whether a value of a configuration names an object to be made.

    Args:
        value: any value.

    Returns:
        Whether it is a mapping with a `_target_`.
    """
    return isinstance(value, Mapping) and TARGET in value
