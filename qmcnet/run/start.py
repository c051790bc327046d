"""What is looked at before a run starts, so that a slip is answered at once and leaves nothing."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import torch

from qmcnet.checks import at_least, between, positive
from qmcnet.chemistry.scf import check_basis
from qmcnet.compute.compilation import check_compiler
from qmcnet.run.directory import check_own, is_run
from qmcnet.system.molecule import Molecule

MOST_WALKERS = 10**6
"""More cannot be meant: a step of so many takes minutes on any device, and published runs have thousands."""


def check_scalars(
    steps: int,
    accuracy: float | None,
    batch_size: int,
    seed: int,
    wall_time: float | None,
    resume: bool,
    overwrite: bool,
) -> None:
    """Refuse numbers out of range and switches that contradict each other.

    Args:
        steps: optimisation steps.
        accuracy: distance to the exact energy until which more are made, in hartree; None for none.
        batch_size: number of walkers.
        seed: seed of the random numbers.
        wall_time: seconds after which the run stops; None for no limit.
        resume: continue a run found in the directory.
        overwrite: move it aside.

    Raises:
        ValueError: naming the argument.
    """
    for name, value in {"steps": steps, "batch_size": batch_size, "seed": seed}.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ValueError(f"{name}={value!r} must be a whole number")
    between(2, MOST_WALKERS, batch_size=batch_size)
    at_least(0, steps=steps, seed=seed)
    positive(wall_time=wall_time, accuracy=accuracy)
    if overwrite and resume:
        raise ValueError("overwrite=true moves an earlier run aside only with resume=false")


def check_parts(run: Callable[..., Any], arguments: Mapping[str, object]) -> None:
    """Refuse settings of a run that are of another class than their defaults.

    Args:
        run: class of runs; where it asks for an interface, a class of the user's own may stand.
        arguments: those of a run by name.

    Raises:
        ValueError: naming the argument.
    """
    for name, given in inspect.signature(run).parameters.items():
        kind = type(given.default)
        if given.annotation is kind and is_dataclass(kind) and not isinstance(arguments[name], kind):
            raise ValueError(f"{name}={arguments[name]!r} must be of the class {kind.__name__}")


def check_start(
    directory: Path,
    molecule: Molecule,
    basis: str | None,
    compiled_on: torch.device | None,
    limited: bool,
    accuracy: float | None,
) -> None:
    """Refuse what would end a run soon after its start, or never.

    Args:
        directory: run directory.
        molecule: the system.
        basis: of the orbitals that a fresh run is pretrained on; None if there is no pretraining.
        compiled_on: device that code is compiled for; None if none is.
        limited: whether the distance of the energy from the exact one is not known.
        accuracy: distance that is asked for, in hartree; None for none.

    Raises:
        RunDirectoryError: if the directory holds something else than a run.
        ValueError: if PySCF does not know the basis, nothing can be compiled, or an accuracy cannot be known.
    """
    check_own(directory)
    if limited and accuracy is not None:
        raise ValueError(f"accuracy={accuracy} is not known of this ansatz, whose nodes are limited: give steps")
    if compiled_on:
        check_compiler(compiled_on)
    if basis and not is_run(directory):
        check_basis(molecule, basis, "pretraining.basis")
