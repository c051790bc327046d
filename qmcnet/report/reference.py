"""Reference energies of the literature for the systems of `conf/system`.

The table holds one row per geometry and set of core potentials, non-relativistic with clamped point nuclei. Its column
`ecp` names the set that all nuclei have, and is empty for all electrons; `geometry` lists symbol, x, y, z of the nuclei
in bohr, and `kind` says how far to trust a row:

* `exact`: known to the digits given;
* `estimate`: derived from experiment and theory, with core potentials from theory alone; can be wrong by its
  uncertainty in either direction;
* `variational`: the lowest published upper bound, below the older estimates for these atoms;
* `experimental curve`: spectroscopic potential-energy curve, its zero from the estimated atomic energies;
* `CCSD(T)/CBS` and `MRCI+Q+F12/CBS`: extrapolated to the complete basis, neither a bound nor exact.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from qmcnet.system.geometry import Atom, congruent
from qmcnet.system.molecule import Molecule

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

    @property
    def description(self) -> str:
        """Kind, uncertainty and source, such as 'estimate +- 0.1 mHa; Chakravorty et al., ...'."""
        if self.kind == "exact":
            return f"exact; {self.source}"
        if self.uncertainty is None:
            return f"{self.kind}, uncertainty not given; {self.source}"
        return f"{self.kind} +- {1e3 * self.uncertainty:.2g} mHa; {self.source}"


@dataclass(frozen=True)
class _Row:
    formula: str
    charge: int
    spin: int
    ecp: str
    atoms: tuple[Atom, ...]
    reference: Reference


def lookup(molecule: Molecule) -> Reference | None:
    """Find the reference energy of a molecule at its geometry.

    A geometry is recognised by the distances of all pairs of its nuclei, each to a relative 2e-4: they stay the same
    when the molecule is moved, turned or reflected or its atoms are reordered, and nothing else leaves them alone.

    Args:
        molecule: the molecule.

    Returns:
        The reference, or None when the table has no row of this formula, charge, spin, geometry and set of core
        potentials, as it has none of potentials without a name, or where some nuclei have one and others not.
    """
    names = {symbol: ecp.name or None for symbol, ecp in molecule.ecp}
    sets = {names.get(symbol, "") for symbol in molecule.symbols}
    if len(sets) != 1:
        return None
    key = molecule.formula, molecule.charge, molecule.spin, *sets
    atoms = [(symbol, *position) for symbol, position in zip(molecule.symbols, molecule.coordinates, strict=True)]
    for row in _table():
        if (row.formula, row.charge, row.spin, row.ecp) == key and congruent(row.atoms, atoms, _RELATIVE_TOLERANCE):
            return row.reference
    return None


@cache
def _table() -> tuple[_Row, ...]:
    with files("qmcnet.report").joinpath("reference_energies.csv").open(encoding="utf-8") as file:
        return tuple(
            _Row(
                formula=row["formula"],
                charge=int(row["charge"]),
                spin=int(row["spin"]),
                ecp=row["ecp"],
                atoms=tuple(_atom(*atom.split()) for atom in row["geometry"].split(";")),
                reference=Reference(
                    energy=float(row["energy"]),
                    uncertainty=float(row["uncertainty"]) if row["uncertainty"] else None,
                    source=row["source"],
                    kind=row["kind"],
                ),
            )
            for row in csv.DictReader(file)
        )


def _atom(symbol: str, x: str, y: str, z: str) -> Atom:
    return symbol, float(x), float(y), float(z)
