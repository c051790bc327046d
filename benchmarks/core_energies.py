"""Which energies do molecules with core potentials have by CCSD(T), beside the published ones?

PySCF computes CCSD(T) of all electrons that are left, from restricted orbitals, in the quadruple- and quintuple-zeta
basis that was made for the potentials. The correlation energy is extrapolated by X^-3, Hartree-Fock is taken from the
larger basis. For two electrons CCSD is exact. Where energies are published, the difference says how far those of other
systems may be off.

    python benchmarks/core_energies.py [SYSTEM ...] [--ecp ccecp] [--csv FILE]
"""

import argparse
import csv
from pathlib import Path
from typing import Any

from common import print_table
from common import system as build
from pyscf import cc, lib, scf

from qmcnet.chemistry.scf import build_mole
from qmcnet.report.reference import lookup
from qmcnet.system.molecule import Molecule

SYSTEMS = ("Be", "B", "C", "N", "O", "F", "Ne", "Mg", "Si", "S", "Cl", "N2")
CARDINALS = {4: "qz", 5: "5z"}


def correlated(molecule: Molecule, basis: str) -> tuple[float, float]:
    """Compute Hartree-Fock and CCSD(T).

    Args:
        molecule: the system.
        basis: name of a basis set.

    Returns:
        Energy of Hartree-Fock and the correlation energy, in hartree.

    Raises:
        RuntimeError: if either does not converge.
    """
    mean_field = scf.ROHF(build_mole(molecule, basis))
    mean_field.conv_tol = 1e-10
    energy = float(mean_field.kernel())
    if molecule.n_electrons == 1:
        return energy, 0.0
    coupled = cc.CCSD(mean_field)
    coupled.conv_tol = 1e-8
    coupled.kernel()
    if not (mean_field.converged and coupled.converged):
        raise RuntimeError(f"{molecule.formula} in {basis} did not converge")
    triples = float(coupled.ccsd_t()) if molecule.n_electrons > 2 else 0.0
    return energy, float(coupled.e_corr) + triples


def extrapolated(name: str, ecp: str) -> dict[str, Any]:
    """Extrapolate to the complete basis.

    Args:
        name: of the system.
        ecp: set of core potentials.

    Returns:
        A row of the table, energies in hartree.
    """
    molecule = build(name).with_ecp(ecp)
    found = {x: correlated(molecule, f"{ecp}-cc-pv{zeta}") for x, zeta in CARDINALS.items()}
    (small, large), (mean_field, last) = sorted(found), found[max(found)]
    total = mean_field + last + (last - found[small][1]) / ((large / small) ** 3 - 1)
    published = lookup(molecule)
    row = {"system": name, "electrons": molecule.n_electrons, "hartree_fock": round(mean_field, 6)}
    row |= {f"ccsd_t_{zeta}": round(sum(found[x]), 6) for x, zeta in CARDINALS.items()} | {
        "extrapolated": round(total, 6)
    }
    known = {"published": published.energy, "error": published.uncertainty} if published else {}
    return row | {"published": "", "error": ""} | known


def main() -> None:
    """Compute them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS)
    parser.add_argument("--ecp", default="ccecp")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    lib.num_threads(1)
    rows = []
    for name in arguments.systems:
        rows.append(extrapolated(name, arguments.ecp))
        print(rows[-1], flush=True)
        if arguments.csv:
            with arguments.csv.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    print_table(rows)


if __name__ == "__main__":
    main()
