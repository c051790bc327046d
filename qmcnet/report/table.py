"""A spectrum as text: figures with their errors, a row for each state."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qmcnet.states.spectrum import MOST_COMPONENTS, UNKNOWN


def with_error(figure: Mapping[str, float | None], digits: int) -> str:
    """Write a figure with the error of its last digits in brackets.

    Args:
        figure: value and error, either of which may be None.
        digits: digits after the point.

    Returns:
        Text such as -2.90376(8); a dash for an unknown value.
    """
    value, error = figure["value"], figure["error"]
    if value is None:
        return "-"
    bracket = "" if error is None else f"({math.ceil(round(error * 10**digits, 6))})"
    return f"{value:z.{digits}f}{bracket}"


def table(states: Sequence[Mapping[str, Any]]) -> str:
    """Print a spectrum.

    Args:
        states: as in `Spectrum`.

    Returns:
        A header and a line for each state.
    """
    columns = {"state": 5, "energy / Ha": 16, "exc. / eV": 12, "cm^-1": 13, "nm": 11, "S^2": 10, "spin": 9, "f": 12}
    lines = ["  ".join(name.rjust(width) for name, width in columns.items())]
    for index, state in enumerate(states):
        ground = index == 0
        spin = next(iter(state["spin"].values())) if "spin" in state else UNKNOWN
        cells = [
            str(index),
            with_error(state["energy"], 5),
            "0" if ground else with_error(state["excitation_ev"], 3),
            "0" if ground else with_error(state["excitation_wavenumber"], 0),
            "-" if ground else with_error(state["wavelength_nm"], 1),
            with_error(spin, 3),
            state.get("multiplicity") or "-",
            "-" if ground else with_error(state.get("oscillator_strength", UNKNOWN), 4),
        ]
        lines.append("  ".join(cell.rjust(width) for cell, width in zip(cells, columns.values(), strict=True)))
    return "\n".join(lines)


def observed_lines(state: Mapping[str, Any]) -> list[str]:
    """Print the observables of one state, but for those of many components.

    Args:
        state: as in `Spectrum`.

    Returns:
        A line for each.
    """
    lines = [f"virial ratio     {with_error(state['virial_ratio'], 4)}"]
    for name, parts in state.items():
        if (
            isinstance(parts, dict)
            and all(isinstance(part, dict) for part in parts.values())
            and len(parts) <= MOST_COMPONENTS
        ):
            lines.append(f"{name:<17}" + "  ".join(f"{part} {with_error(parts[part], 4)}" for part in parts))
    return lines
