"""A structure at rest: files, and what is said of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from qmcnet.compute.files import atomic_write
from qmcnet.report.bond_curve import BondCurve, Figure, constants
from qmcnet.report.origin import geometry
from qmcnet.report.table import with_error
from qmcnet.system.geometry import moved
from qmcnet.system.molecule import Molecule
from qmcnet.system.trajectory import Frame, write_extxyz
from qmcnet.system.units import BOHR_PER_ANGSTROM, EV_PER_HARTREE

STRUCTURE, TRAJECTORY, CONTENT = "relaxed.xyz", "trajectory.extxyz", "relaxation.json"

MOST_DEVIATIONS = 4.0
"""Of chi^2 above what is expected, in standard deviations, beyond which errors are not believed."""


@dataclass(frozen=True)
class Relaxation:
    """What a relaxation found. Figures have a value and an error, energies in hartree.

    Attributes:
        molecule: the structure.
        coordinate_errors: of its coordinates, shape (A, 3), in bohr.
        reason: why it is not at rest, or an empty text.
        no_vibrations: why there are no vibrations although they were asked for, or an empty text.
        bonds: lengths in bohr, by the names of the atoms.
        angles: in degrees, by the names of the atoms.
        energy: of the run that is nearest to the structure.
        nearest: the directory of that run.
        force_error: of the force on the structure, the largest along any direction, in hartree/bohr.
        max_force: what that error was to reach, in hartree/bohr.
        left_out: what forces are off by since the wavefunction is not exact, as far as energies tell: the
            largest along any direction, in hartree/bohr.
        wavenumbers: of harmonic vibrations, in 1/cm; negative ones are imaginary; None where they were not asked for.
        zero_point_energy: half their sum.
        curve: fitted to the energies of a diatomic molecule, less their distances from the exact one; None where these
            say too little.
        points: geometry, energy, forces and directory of each run.
        chi2: sum of the squares of what the model leaves of energies and forces, in their expected sizes.
        known: how many of these there are.
        metadata: where the numbers come from.
    """

    molecule: Molecule
    coordinate_errors: Sequence[Sequence[float]]
    reason: str
    no_vibrations: str
    bonds: Mapping[str, Figure]
    angles: Mapping[str, Figure]
    energy: Figure
    nearest: str
    force_error: float
    max_force: float
    left_out: Figure
    wavenumbers: Sequence[Figure] | None
    zero_point_energy: Figure | None
    curve: BondCurve | None
    points: Sequence[Mapping[str, Any]]
    chi2: float
    known: int
    metadata: Mapping[str, Any]

    @property
    def succeeded(self) -> bool:
        """Whether the structure is at rest, and its vibrations are known where they were asked for."""
        return not (self.reason or self.no_vibrations)

    def store(self, folder: Path) -> None:
        """Write `relaxed.xyz`, `trajectory.extxyz` and `relaxation.json`.

        Args:
            folder: where the files go.
        """
        write_extxyz([Frame(self.molecule)], folder / STRUCTURE)
        write_extxyz([self.frame(point) for point in self.points], folder / TRAJECTORY)
        text = json.dumps(self.content(), indent=2, allow_nan=False) + "\n"
        atomic_write(folder / CONTENT, lambda file: file.write(text.encode()))

    @classmethod
    def read(cls, folder: Path, molecule: Molecule) -> "Relaxation":
        """Read what `store` wrote.

        Args:
            folder: where the files are.
            molecule: the same electrons, at any geometry.

        Returns:
            The relaxation.

        Raises:
            ValueError: for a damaged file; also LookupError and TypeError.
        """
        content = json.loads((folder / CONTENT).read_text(encoding="utf-8"))
        own = {name: content.pop(name) for name in [field.name for field in fields(cls)] if name in content}
        curve = own.pop("curve")
        if curve is not None:
            curve = BondCurve(**curve | {"coefficients": np.array(curve["coefficients"])})
        own["bonds"] = {name: figures["bohr"] for name, figures in own["bonds"].items()}
        structure = moved(molecule, content.pop("geometry")["bohr"])
        return cls(molecule=structure, reason=own.pop("reason"), curve=curve, metadata=content, **own)

    def frame(self, point: Mapping[str, Any]) -> Frame:
        """Write one of the points for other programs."""
        forces = np.array(point["forces"]), np.array(point["force_errors"])
        return Frame(moved(self.molecule, point["bohr"]), (point["energy"], point["error"]), forces)

    def content(self) -> dict[str, Any]:
        """Write all figures as plain values."""
        curve = None if self.curve is None else asdict(self.curve) | {"coefficients": self.curve.coefficients.tolist()}
        return {
            **self.metadata,
            "geometry": geometry(self.molecule),
            "coordinate_errors": self.coordinate_errors,
            "at_rest": not self.reason,
            "reason": self.reason,
            "no_vibrations": self.no_vibrations,
            "bonds": {
                name: {"bohr": figure, "angstrom": _scaled(figure, 1 / BOHR_PER_ANGSTROM)}
                for name, figure in self.bonds.items()
            },
            "angles": self.angles,
            "energy": self.energy,
            "nearest": self.nearest,
            "force_error": self.force_error,
            "max_force": self.max_force,
            "left_out": self.left_out,
            "wavenumbers": self.wavenumbers,
            "zero_point_energy": self.zero_point_energy,
            "curve": curve,
            "chi2": self.chi2,
            "known": self.known,
            "points": self.points,
        }

    def facts(self) -> list[tuple[str, str]]:
        """Say what was found, in lines that each have a name."""
        rest = self.reason or f"forces vanish within {1e3 * self.force_error:.2g} mHa/bohr"
        lines = [("not at rest" if self.reason else "at rest", f"{rest}; {len(self.points)} geometries")]
        for name, figure in self.bonds.items():
            in_angstrom = with_error(_scaled(figure, 1 / BOHR_PER_ANGSTROM), 4)
            lines.append((f"bond {name}", f"{with_error(figure, 4)} bohr = {in_angstrom} angstrom"))
        lines += [(f"angle {name}", f"{with_error(figure, 2)} degrees") for name, figure in self.angles.items()]
        lines.append(("energy", f"{with_error(self.energy, 6)} hartree, of the run {self.nearest}"))
        if self.wavenumbers is not None:
            lines += [(f"vibration {n}", _wavenumber(figure)) for n, figure in enumerate(self.wavenumbers, start=1)]
        if self.zero_point_energy:
            in_ev = with_error(_scaled(self.zero_point_energy, EV_PER_HARTREE), 4)
            lines.append(("zero point", f"{with_error(self.zero_point_energy, 6)} hartree = {in_ev} eV"))
        if self.no_vibrations:
            lines.append(("no vibrations", self.no_vibrations))
        left_out = with_error(_scaled(self.left_out, 1e3), 2)
        lines.append(("forces are off", f"by {left_out} mHa/bohr, as energies tell"))
        if not self.reason and self.force_error > self.max_force:
            asked = f"forces vanish within their errors alone, and max_force={self.max_force:g} asks for less"
            how = "a smaller relaxation.force_error, more geometries, or a wavefunction nearer to the exact one"
            lines.append(("warning", f"{asked}: {how}"))
        if self.chi2 > self.known + MOST_DEVIATIONS * (2 * self.known) ** 0.5:
            disagree = (
                f"chi^2 is {self.chi2:.0f} of {self.known} energies and forces, which disagree beyond their errors"
            )
            lines.append(("warning", f"{disagree}: the errors above are too small"))
        return lines

    def summary(self) -> str:
        """Say what was found in a few lines."""
        lines = [self.molecule.summary(), *(f"{name:<16} {text}" for name, text in self.facts())]
        if self.curve:
            lines += [
                "a curve fitted to the energies alone, less what each run says that it is above the exact one:",
                *constants(self.curve, self.molecule),
            ]
        return "\n".join(lines)


def is_relaxation(folder: Path) -> bool:
    """Whether a folder holds what a relaxation has found."""
    return (folder / CONTENT).is_file()


def _scaled(figure: Figure, factor: float) -> Figure:
    return {name: None if number is None else factor * number for name, number in figure.items()}


def _wavenumber(figure: Figure) -> str:
    value = figure["value"] or 0.0
    text = with_error(figure | {"value": abs(value)}, 0)
    return f"{text} cm^-1" + ", imaginary: not a minimum in this direction" * (value < 0)
