"""Forces on the nuclei as text, and what makes them hard to trust."""

from collections.abc import Mapping, Sequence
from typing import Any

from qmcnet.report.distance import Distance

OFF = 3.0
"""How far forces may be off, per bohr, over the distance of the energy from the exact one."""
TORQUE = "torque"
"""What is no force on a nucleus."""


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
    left_out = "forces take the wavefunction for exact"
    if distance is None:
        return [f"{left_out}, and how far the energy is from the exact one is not known"]
    if OFF * distance.value <= largest:
        return []
    size = OFF * distance.value
    off = f"they may be off by some {1e3 * size:.2g} mHa/bohr, more than their errors of {1e3 * largest:.2g}"
    falling = ", and its variance was still falling" * distance.falling
    return [f"{left_out}: the energy is about {1e3 * distance.value:.2g} mHa above the exact one{falling}; {off}"]
