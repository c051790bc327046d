"""Several runs side by side: a table, files that other programs read, and a curve where one number varies."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qmcnet.chemistry.masses import isotope_mass
from qmcnet.compute.files import atomic_write
from qmcnet.report.bond_curve import BondCurve, constants, fit_bond_curve
from qmcnet.report.curve_figure import Curves, Series, draw_curves
from qmcnet.report.result import Result
from qmcnet.report.table import with_error
from qmcnet.system.molecule import Molecule

BOND_LENGTH = "bond_length"
MOST_LETTERS = 40
"""Letters of a label."""


@dataclass(frozen=True)
class Point:
    """A run of a sweep.

    Attributes:
        directory: its run directory, which need not exist.
        settings: what was typed for it, by key; numbers as such.
        status: how far it is, in words.
        succeeded: whether it is done, and found an energy.
        result: what it found, as far as it is.
        diffused: energy by diffusion Monte Carlo, with error, in hartree, where the run ends with it.
    """

    directory: Path
    settings: Mapping[str, str | float]
    status: str
    succeeded: bool
    result: Result | None
    diffused: Mapping[str, float] | None = None

    def energies(self) -> list[Mapping[str, float]]:
        """Energies of all states, with value and error, in hartree; none where they are not known."""
        if not self.succeeded or self.result is None:
            return []
        return [self.diffused] if self.diffused else [state["energy"] for state in self.result.states]

    def above_reference(self) -> float | None:
        """Energy of the lowest state above the known one, in hartree."""
        energies, reference = self.energies(), self.result.reference if self.result else None
        return energies[0]["value"] - reference["energy"] if energies and reference else None

    def bond_length(self) -> float | None:
        """Distance of the nuclei of a diatomic molecule, in bohr."""
        geometry = self.result.metadata["geometry"]["bohr"] if self.result else []
        return math.dist(*geometry) if len(geometry) == 2 else None


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in some settings.

    Attributes:
        points: the runs.
    """

    points: Sequence[Point]

    @property
    def succeeded(self) -> bool:
        """Whether all runs are done, and found an energy."""
        return all(point.succeeded for point in self.points)

    @property
    def varied(self) -> list[str]:
        """Keys of the settings in which the runs differ."""
        keys = dict.fromkeys(key for point in self.points for key in point.settings)
        return [key for key in keys if len({point.settings.get(key) for point in self.points}) > 1]

    @property
    def variable(self) -> str | None:
        """The setting that varies, if it is a single one and a number everywhere."""
        varied = self.varied
        numbers = all(isinstance(point.settings.get(key), float) for point in self.points for key in varied)
        return varied[0] if len(varied) == 1 and numbers else None

    def summary(self) -> str:
        """Print a line for each run, and what a curve of bond lengths says."""
        rows = self.cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        widths[-1] = 0  # what comes last may be long
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines + self.constants())

    def cells(self) -> list[list[str]]:
        """Write a header and a row for each run."""
        varied = self.varied
        rows = [[*(varied or ["run"]), "energy / Ha", "above reference / mHa", "status"]]
        for point in self.points:
            cells = [_text(point.settings.get(key)) for key in varied] or [point.directory.name]
            rows.append([*cells, *_cells(point), point.status])
        return rows

    def labels(self) -> list[str]:
        """Tell the runs apart in a few letters: by the settings in which they differ, or by their directories."""
        named = [", ".join(f"{key}={_text(point.settings.get(key))}" for key in self.varied) for point in self.points]
        short = all(named) and len({*named}) == len(named) and max(map(len, named)) <= MOST_LETTERS
        return named if short else [point.directory.resolve().name[-MOST_LETTERS:] for point in self.points]

    def constants(self) -> list[str]:
        """Say what a curve of bond lengths says, where there is one, in lines."""
        curve = self.curve()
        return constants(curve, self._molecule()) if curve else []

    def curve(self, state: int = 0) -> BondCurve | None:
        """Fit the energies of a diatomic molecule at several bond lengths.

        Args:
            state: number of the state.

        Returns:
            The curve; None for other sweeps, or where there are too few energies or none is inside of them.
        """
        found = self._series(state) if self.variable == BOND_LENGTH else []
        molecule = self._molecule() if found else None
        if molecule is None or len(molecule.symbols) != 2:
            return None
        first, second = (isotope_mass(symbol) for symbol in molecule.symbols)
        lengths, energies, errors = zip(*found, strict=True)
        return fit_bond_curve(lengths, energies, errors, (first, second))

    def _molecule(self) -> Molecule:
        """The molecule of a run that is done."""
        found = next(point.result for point in self.points if point.result)
        geometry, ecp = found.metadata["geometry"], found.metadata.get("ecp", {})
        return Molecule(geometry["symbols"], geometry["bohr"], **_state(found), ecp=ecp)

    def rows(self) -> list[dict[str, Any]]:
        """Give the figures of each run, flat; energies and errors in hartree."""
        return [
            {key: point.settings.get(key) for key in self.varied}
            | {"energy": None, "error": None, "above_reference": None}
            | {
                f"{name}{number or ''}": energy[key]
                for number, energy in enumerate(point.energies())
                for name, key in (("energy", "value"), ("error", "error"))
            }
            | {"above_reference": point.above_reference(), "status": point.status, "directory": str(point.directory)}
            for point in self.points
        ]

    def store(self, folder: Path) -> None:
        """Write `sweep.csv` and `sweep.json`, and `curve.svg` and `curve.png` where a single number varies.

        Args:
            folder: where the files go.
        """
        folder.mkdir(parents=True, exist_ok=True)
        rows, text = self.rows(), io.StringIO()
        writer = csv.DictWriter(text, max((list(row) for row in rows), key=len), restval="")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(folder / "sweep.csv", lambda file: file.write(text.getvalue().encode()))
        curves = self._curves()
        fitted = [None if curve is None else _plain(curve) for curve in curves]
        content = {"varied": self.varied, "points": rows, "curves": fitted}
        atomic_write(folder / "sweep.json", lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))
        if drawn := self.drawn():
            draw_curves(*drawn, folder)

    def drawn(self) -> tuple[Series, Curves, str] | None:
        """Say what there is to draw: energies of all states, what was fitted to them, and the setting that varies."""
        curves = self._curves()
        if not self.variable or not curves:
            return None
        series = [self._series(number) for number in range(len(curves))]
        in_bohr = self.variable == BOND_LENGTH and any(point.bond_length() is not None for point in self.points)
        return series, curves, self.variable + " / bohr" * in_bohr

    def _curves(self) -> list[BondCurve | None]:
        """Fit the energies of each state."""
        return [
            self.curve(number) for number in range(max((len(point.energies()) for point in self.points), default=0))
        ]

    def _series(self, state: int) -> list[tuple[float, float, float]]:
        """Values of the setting that varies, energies and errors of a state; bond lengths in bohr."""
        return [
            (self._place(point), energies[state]["value"], energies[state]["error"])
            for point in self.points
            if len(energies := point.energies()) > state
        ]

    def _place(self, point: Point) -> float:
        length = point.bond_length() if self.variable == BOND_LENGTH else None
        return float(point.settings[self.variable or ""]) if length is None else length


def _cells(point: Point) -> list[str]:
    energies, above = point.energies(), point.above_reference()
    reference = (point.result.reference if point.result else None) or {}
    error = math.hypot(energies[0]["error"], reference.get("uncertainty") or 0.0) if energies else 0.0
    return [
        with_error(energies[0], 6) if energies else "-",
        "-" if above is None else with_error({"value": 1e3 * above, "error": 1e3 * error}, 2),
    ]


def _text(value: str | float | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:g}"


def _state(result: Result) -> dict[str, int]:
    return {"charge": result.metadata["charge"], "spin": result.metadata["spin"]}


def _plain(curve: BondCurve) -> dict[str, Any]:
    return asdict(curve) | {"coefficients": curve.coefficients.tolist()}
