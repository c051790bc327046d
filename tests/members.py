"""Members of the package, found by themselves: what a configuration may name is what tests run through their laws."""

import inspect
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from composing import composed
from hydra.utils import get_object
from omegaconf import OmegaConf

import qmcnet.stages as room
from qmcnet.config.build import maker
from qmcnet.config.names import shipped
from qmcnet.config.naming import folder
from qmcnet.config.schema import argument_types


@cache
def kinds(group):
    """Classes that the files of a group name, by public name."""
    return {name: get_object(target) for name, target in sorted(shipped(group).items())}


def names(group):
    """Names of the files of a group."""
    return sorted(path.stem for path in folder(group).glob("*.yaml"))


def made(group, name):
    """What a file of a group makes, as a configuration does."""
    cfg = composed("+system=He", f"{group}={name}")
    return maker(group, OmegaConf.to_container(cfg, resolve=True)[group], False)()


def networks():
    """Classes of wavefunctions that end in a head, and so have envelopes, Jastrow factors, several states."""
    return [kind for kind in kinds("ansatz").values() if "envelope" in argument_types(kind)[0]]


def tiny(kind):
    """Make each size of a network a small number of its own, so that swapped axes cannot hide behind equal ones."""
    sizes = [name for name, given in inspect.signature(kind).parameters.items() if given.annotation is int]
    counts, widths = iter((3, 2, 4)), iter((7, 5, 11, 13))
    return {name: next(counts if name.startswith("n_") else widths) for name in sizes if name != "seed"}


def sizes(chosen=None, **head):
    """Small sizes of every network that ends in a head, with settings of the head; those that are `chosen` stay."""
    return {kind: {**tiny(kind), **head, **(chosen or {}).get(kind, {})} for kind in networks()}


def stages():
    """Classes of stages: what the files of their room call by a name, with a table of its steps."""
    files = [import_module(f"{room.__name__}.{found.name}") for found in iter_modules(room.__path__)]
    found = [kind for file in files for kind in vars(file).values() if getattr(kind, "__module__", "") == file.__name__]
    return [kind for kind in found if isinstance(kind, type) and isinstance(vars(kind).get("table"), str)]


def natural_gradients():
    """Classes of optimisers that solve for a direction in the metric of the scores."""
    return [kind for kind in kinds("optimizer").values() if "damping" in argument_types(kind)[0]]
