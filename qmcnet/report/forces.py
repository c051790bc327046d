"""Forces on the nuclei as text, and what makes them hard to trust."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qmcnet.report.distance import Distance

SHARE = 0.25
"""How far forces may be off, over their bound: .02 to .4 were measured."""
BOND = 0.5
"""Force constant of a bond, in hartree/bohr^2."""
TORQUE = "torque"
"""What is no force on a nucleus."""


def left_out(distance: float, constant: float = BOND) -> float:
    """Estimate what forces are off by because the wavefunction is not exact.

    They are the slopes of the energy of the wavefunction that is carried along. It is above the exact energy by d, and
    d is nowhere negative: a parabola with the slope d' and the curvature d'' has no zeros if d'^2 < 2 d d''. What is
    carried along is about as stiff again as the molecule: d'' is taken for the force constant.

    Args:
        distance: d, in hartree.
        constant: force constant along the displacement, in hartree/bohr^2.

    Returns:
        In hartree/bohr.
    """
    return SHARE * math.sqrt(2 * distance * constant)


def by_nucleus(forces: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, float | None]]]:
    """Put the components of each nucleus together.

    Args:
        forces: figures by name, such as `Li1 x`, as in `Spectrum`.

    Returns:
        Figures by axis, of each nucleus, and of the torque about the origin, `torque`.
    """
    found: dict[str, dict[str, Mapping[str, float | None]]] = {}
    for name, figure in forces.items():
        nucleus, axis = name.split()
        found.setdefault(nucleus, {})[axis] = figure
    return found


def heading(nucleus: str) -> tuple[str, str]:
    """Name a line.

    Args:
        nucleus: such as `Li1`, or `torque`.

    Returns:
        Its name, and the unit of its figures.
    """
    return (TORQUE, "hartree") if nucleus == TORQUE else (f"force on {nucleus}", "hartree/bohr")


def caveats(states: Sequence[Mapping[str, Any]], distance: Distance | None) -> list[str]:
    """Say whether the forces may be off by more than their errors, as the wavefunction is not exact.

    Args:
        states: as in `Spectrum`.
        distance: of the energy from that of the state; None where nothing is known.

    Returns:
        One sentence, or none.
    """
    forces = states[0].get("forces") if states else None
    if not forces or len({name.split()[0] for name in forces} - {TORQUE}) == 1:  # that on an atom is zero in any case
        return []
    errors = [figure["error"] for name, figure in forces.items() if name.split()[0] != TORQUE]
    largest = max((error for error in errors if error is not None), default=0.0)
    reason = "forces take the wavefunction for exact"
    if distance is None:
        return [f"{reason}, and how far the energy is from the exact one is not known"]
    size = left_out(distance.value)
    if size <= largest:
        return []
    off = f"they may be off by some {1e3 * size:.2g} mHa/bohr, more than their errors of {1e3 * largest:.2g}"
    falling = ", and its variance was still falling" * distance.falling
    return [f"{reason}: the energy is about {1e3 * distance.value:.2g} mHa above the exact one{falling}; {off}"]
