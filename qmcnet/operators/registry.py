"""Observables by name."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from qmcnet.operators.density import DensityGrid
from qmcnet.operators.dipole import Dipole
from qmcnet.operators.natural_orbitals import NaturalOrbitals
from qmcnet.operators.operator import Observable
from qmcnet.operators.pair import Pair
from qmcnet.operators.radial import Radial
from qmcnet.operators.spin import Spin
from qmcnet.system.molecule import Molecule

OBSERVABLES: dict[str, Callable[..., Observable]] = {
    kind.name: kind for kind in (Dipole, NaturalOrbitals, Pair, Radial, Spin)
}
"""Constructors of the observables; each takes a molecule, and settings of its own that have defaults."""

SPECTRUM = ("dipole", "spin")
"""What a spectrum needs."""


DENSITY = "density"
"""Name of the electron density, which is no operator with components but a grid that counts electrons."""


def check_observables(names: Iterable[str]) -> None:
    """Refuse an observable that is unknown.

    Args:
        names: names of observables.

    Raises:
        ValueError: for an unknown name.
    """
    known = sorted({*OBSERVABLES, DENSITY})
    for name in names:
        if name not in known:
            raise ValueError(f"observables={name!r} must be among {', '.join(known)}")


def make_observables(names: Iterable[str], molecule: Molecule, device: torch.device) -> list[Observable]:
    """Make observables for a molecule.

    Args:
        names: names, in any order; the density is left out.
        molecule: the system.
        device: where the walkers are.

    Returns:
        The observables in the order of their names.
    """
    check_observables(names)
    modules: list[Any] = [OBSERVABLES[name](molecule) for name in sorted(names) if name != DENSITY]
    return [module.to(device) for module in modules]


def make_grid(names: Iterable[str], molecule: Molecule) -> DensityGrid | None:
    """Make the grid of the electron density, where it is asked for.

    Args:
        names: names of observables.
        molecule: the system.

    Returns:
        The grid, or None.
    """
    return DensityGrid.around(molecule) if DENSITY in names else None
