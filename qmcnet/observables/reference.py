"""Reference energies of the literature for the systems of `conf/system`.

The table holds one row per geometry, all-electron and non-relativistic with clamped point nuclei. Its column
`kind` says how far to trust a row:

* `exact`: known to the digits given;
* `estimate`: derived from experiment and theory, can be wrong by its uncertainty in either direction;
* `variational`: the lowest published upper bound, below the older estimates for these atoms;
* `experimental curve`: spectroscopic potential-energy curve, its zero from the estimated atomic energies;
* `CCSD(T)/CBS` and `MRCI+Q+F12/CBS`: extrapolated to the complete basis, neither a bound nor exact.
"""

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from qmcnet.molecule import Molecule

_RELATIVE_TOLERANCE = 2e-4


@dataclass(frozen=True)
class Reference:
    """A reference energy.

    Attributes:
        energy: total energy, hartree.
        uncertainty: one standard deviation or stated error, hartree; None when the source gives none.
        source: where the energy was published.
        kind: what the energy is, one of the kinds of this module.
    """

    energy: float
    uncertainty: float | None
    source: str
    kind: str


@dataclass(frozen=True)
class _Row:
    formula: str
    charge: int
    spin: int
    nuclear_repulsion: float
    reference: Reference


def lookup(molecule: Molecule) -> Reference | None:
    """Find the reference energy of a molecule at its geometry.

    A geometry is recognised, to a relative 2e-4, by its nuclear repulsion energy: it stays the same when the
    molecule is moved or rotated or its atoms are reordered.

    Args:
        molecule: the molecule.

    Returns:
        The reference, or None when the table has no row of this formula, charge, spin and geometry.
    """
    key = molecule.formula, molecule.charge, molecule.spin
    repulsion = molecule.nuclear_repulsion
    for row in _table():
        same_system = (row.formula, row.charge, row.spin) == key
        if same_system and math.isclose(row.nuclear_repulsion, repulsion, rel_tol=_RELATIVE_TOLERANCE):
            return row.reference
    return None


@cache
def _table() -> tuple[_Row, ...]:
    with files("qmcnet.observables").joinpath("reference_energies.csv").open(encoding="utf-8") as file:
        return tuple(
            _Row(
                formula=row["formula"],
                charge=int(row["charge"]),
                spin=int(row["spin"]),
                nuclear_repulsion=float(row["nuclear_repulsion"]),
                reference=Reference(
                    energy=float(row["energy"]),
                    uncertainty=float(row["uncertainty"]) if row["uncertainty"] else None,
                    source=row["source"],
                    kind=row["kind"],
                ),
            )
            for row in csv.DictReader(file)
        )
