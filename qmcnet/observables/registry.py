"""Observables by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from qmcnet.molecule import Molecule
from qmcnet.observables.dipole import Dipole
from qmcnet.observables.natural_orbitals import NaturalOrbitals
from qmcnet.observables.observable import Observable
from qmcnet.observables.pair import Pair
from qmcnet.observables.radial import Radial
from qmcnet.observables.spin import Spin

OBSERVABLES: dict[str, Callable[..., Observable]] = {
    kind.name: kind for kind in (Dipole, NaturalOrbitals, Pair, Radial, Spin)
}
"""Constructors of the observables; each takes a molecule, and settings of its own that have defaults."""

SPECTRUM = ("dipole", "spin")
"""What a spectrum needs."""


def make_observables(names: Iterable[str], molecule: Molecule, device: torch.device) -> list[Observable]:
    """Make observables for a molecule.

    Args:
        names: names, in any order.
        molecule: the system.
        device: where the walkers are.

    Returns:
        The observables in the order of their names.

    Raises:
        ValueError: for an unknown name.
    """
    for name in names:
        if name not in OBSERVABLES:
            raise ValueError(f"observables={name!r} must be among {', '.join(OBSERVABLES)}")
    modules: list[Any] = [OBSERVABLES[name](molecule) for name in sorted(names)]
    return [module.to(device) for module in modules]
