"""Observables by name."""

from collections.abc import Callable

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
