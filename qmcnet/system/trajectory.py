"""Files of geometries for other programs, in the units of ASE."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.compute.files import atomic_write
from qmcnet.system.molecule import Molecule
from qmcnet.system.units import BOHR_PER_ANGSTROM, EV_PER_HARTREE

Array = NDArray[np.float64]
EV_PER_ANGSTROM = EV_PER_HARTREE * BOHR_PER_ANGSTROM
"""In one hartree/bohr."""


@dataclass(frozen=True)
class Frame:
    """A geometry, with energy and forces where they are known.

    Attributes:
        molecule: the nuclei.
        energy: with its standard error, in hartree.
        forces: on the nuclei with their standard errors, each of shape (A, 3), in hartree/bohr.
    """

    molecule: Molecule
    energy: tuple[float, float] | None = None
    forces: tuple[Array, Array] | None = None


def write_extxyz(frames: Sequence[Frame], path: Path) -> None:
    """Write an extended xyz file.

    Args:
        frames: the geometries.
        path: file to create or replace.
    """
    from ase.io import write

    text = io.StringIO()
    write(text, [_atoms(frame) for frame in frames], format="extxyz")
    atomic_write(path, lambda file: file.write(text.getvalue().encode()))


def _atoms(frame: Frame) -> Any:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    known: Any = SinglePointCalculator  # without annotations
    molecule = frame.molecule
    atoms: Any = Atoms(molecule.symbols, np.array(molecule.coordinates) / BOHR_PER_ANGSTROM)
    atoms.info |= {"charge": molecule.charge, "spin": molecule.spin}
    if frame.energy and frame.forces:
        energy, error = (EV_PER_HARTREE * each for each in frame.energy)
        forces, errors = (EV_PER_ANGSTROM * each for each in frame.forces)
        atoms.calc = known(atoms, energy=energy, forces=forces)
        atoms.info["energy_error"] = error
        atoms.set_array("forces_error", errors)
    return atoms
