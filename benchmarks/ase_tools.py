"""Do the tools of ASE work with energies that have errors? The barrier of H + H2, and the vibrations of H2.

A band of three images between H2 + H and H + H2, on a line, by ASE's nudged elastic band; and ASE's finite differences
of forces at displaced geometries. Full CI in cc-pVTZ has 11.8 mHa for two bonds of 1.757 bohr above the ends that are
taken here, where the third atom is 3.2 bohr away; H2 has 4401 cm^-1.

    python benchmarks/ase_tools.py [--directory DIR] [band] [vibrations]

What was computed is found again in the directory, so that the same command continues.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from ase.units import Bohr, Hartree
from ase.vibrations import Vibrations
from common import machine

from qmcnet.ase import QMCNetCalculator

RELAXATION = {"force_error": 1.5e-3}
SHORT = {"force_error": 4e-3, "steps": 60, "evaluation_steps": 100}
"""As many runs of three electrons as a band takes."""
ENDS = (1.4, 3.2), (3.2, 1.4)
"""Bonds of both ends of the band, in bohr."""
make_atoms: Any = Atoms  # these have no annotations
make_band: Any = NEB
descend: Any = FIRE
make_vibrations: Any = Vibrations


def band(directory: Path) -> None:
    """Find the barrier of H + H2.

    Args:
        directory: where the runs are kept.
    """
    first, last = (make_atoms("H3", [(0, 0, -x * Bohr), (0, 0, 0), (0, 0, y * Bohr)]) for x, y in ENDS)
    images = [first, *(first.copy() for _ in range(3)), last]
    for image in images:
        image.calc = QMCNetCalculator(directory / "H3", spin=1, relaxation=SHORT, batch_size=256)
    path = make_band(images, climb=True, k=1.0, method="improvedtangent")
    path.interpolate()
    converged = descend(path, trajectory=None, logfile="-", dt=0.1).run(fmax=0.3, steps=8)
    energies = np.array([image.get_potential_energy() for image in images]) / Hartree
    errors = np.array([image.calc.results["energy_error"] for image in images]) / Hartree
    top = images[2]
    print(f"band at rest: {converged}")
    print("energies above the ends / mHa", 1e3 * (energies - energies[[0, -1]].mean()), "+-", 1e3 * errors)
    print("bonds of the middle image / bohr", top.get_distance(0, 1) / Bohr, top.get_distance(1, 2) / Bohr)


def vibrations(directory: Path) -> None:
    """Find the wavenumber of H2.

    Args:
        directory: where the runs are kept.
    """
    atoms = make_atoms("H2", [(0, 0, 0), (0, 0, 1.4011 * Bohr)])
    atoms.calc = QMCNetCalculator(directory / "H2", relaxation=RELAXATION)
    modes = make_vibrations(atoms, delta=0.05, name=str(directory / "vibrations"))
    modes.run()
    modes.summary()


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=("band", "vibrations"), default=("band", "vibrations"))
    parser.add_argument("--directory", type=Path, default=Path("ase_tools"))
    arguments = parser.parse_args()
    print(machine())
    for part in arguments.parts:
        start = time.perf_counter()
        {"band": band, "vibrations": vibrations}[part](arguments.directory)
        print(f"{part}: {(time.perf_counter() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
