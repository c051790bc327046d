"""A spectrum as text: figures with their errors, a row for each state."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qmcnet.report.forces import by_nucleus, heading
from qmcnet.report.notebook import table_html
from qmcnet.states.spectrum import MOST_COMPONENTS, UNKNOWN

DIGITS, MOST_DIGITS = 6, 12
"""Digits of an energy after the point, and the most where its error is smaller than the last of them."""


def with_error(figure: Mapping[str, float | None], digits: int) -> str:
    """Write a figure with the error of its last digits in brackets.

    Args:
        figure: value and error, either of which may be None, or not finite.
        digits: digits after the point.

    Returns:
        Text such as -2.90376(8); a dash for an unknown value.
    """
    value, error = figure["value"], figure["error"]
    if value is None or not math.isfinite(value):
        return "-"
    known = error is not None and math.isfinite(error)
    bracket = f"({math.ceil(round(error * 10**digits, 6))})" if known and error is not None else ""
    return f"{value:z.{digits}f}{bracket}"


def plus_minus(value: float, error: float) -> str:
    """Write an energy with its error, with so many digits that no error looks like none.

    Args:
        value: energy, in hartree.
        error: one standard deviation, in hartree.

    Returns:
        Text such as -2.903760 +- 0.000080.
    """
    digits = min(1 - math.floor(math.log10(error)), MOST_DIGITS) if 0 < error < 10**-DIGITS else DIGITS
    return f"{value:.{digits}f} +- {error:.{digits}f}"


COLUMNS = {"state": 5, "energy / Ha": 16, "exc. / eV": 12, "cm^-1": 13, "nm": 11, "S^2": 10, "spin": 9, "f": 12}
"""Columns of a spectrum, with their widths in characters."""


def table(states: Sequence[Mapping[str, Any]]) -> str:
    """Print a spectrum.

    Args:
        states: as in `Spectrum`.

    Returns:
        A header and a line for each state.
    """
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, COLUMNS.values(), strict=True))
        for row in (COLUMNS, *cells(states))
    )


def cells(states: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Write the figures of a spectrum.

    Args:
        states: as in `Spectrum`.

    Returns:
        Of each state, the cells of its row.
    """
    rows = []
    for index, state in enumerate(states):
        ground = index == 0
        spin = next(iter(state["spin"].values())) if "spin" in state else UNKNOWN
        rows.append(
            [
                str(index),
                with_error(state["energy"], 5),
                "0" if ground else with_error(state["excitation_ev"], 3),
                "0" if ground else with_error(state["excitation_wavenumber"], 0),
                "-" if ground else with_error(state["wavelength_nm"], 1),
                with_error(spin, 3),
                state.get("multiplicity") or "-",
                "-" if ground else with_error(state.get("oscillator_strength", UNKNOWN), 4),
            ]
        )
    return rows


def observed(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the observables of one state, but for those of many components.

    Args:
        state: as in `Spectrum`.

    Returns:
        Name and figures of each.
    """
    ratio = state["virial_ratio"]
    theorem = "none: with effective core potentials there is no virial theorem"
    lines = [("virial ratio", theorem if ratio is None else with_error(ratio, 4))]
    lines += forces(state)
    for name, parts in state.items():
        if (
            name != "forces"
            and isinstance(parts, dict)
            and all(isinstance(part, dict) for part in parts.values())
            and len(parts) <= MOST_COMPONENTS
        ):
            lines.append((name, "  ".join(f"{part} {with_error(parts[part], 4)}" for part in parts)))
    return lines


def forces(state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write the forces of one state, where they were measured.

    Args:
        state: as in `Spectrum`.

    Returns:
        Name and figures of each nucleus, and of the torque.
    """
    lines = []
    for nucleus, parts in by_nucleus(state.get("forces", {})).items():
        name, unit = heading(nucleus)
        lines.append((name, "  ".join(f"{axis} {with_error(parts[axis], 5)}" for axis in parts) + f"  {unit}"))
    return lines


@dataclass(frozen=True)
class SpectrumTable:
    """A spectrum that shows itself as a table.

    Attributes:
        states: as in `Spectrum`.
    """

    states: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        """Print it."""
        return table(self.states)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return table_html(list(COLUMNS), cells(self.states))
