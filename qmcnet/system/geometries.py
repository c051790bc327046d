"""A geometry as a file or another package gives it, and what it says of charge, spin and units."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qmcnet.system.geometry import Atom

logger = logging.getLogger(__name__)

_INTEGER_TOLERANCE = 1e-2  # sums of charges or of magnetic moments of all atoms
_KEYS = {
    "charge": r"(?:total[_ ]?)?charge",
    "multiplicity": r"(?:spin[_ ]?)?multiplicity|mult",
    "spin": r"spin",
}
_PAIR = re.compile(r"\s*([+-]?\d{1,2})[\s,]+([1-9]\d?)\s*")
_UNITS = {"bohr": r"bohrs?|a\.?u\.?|atomic", "angstrom": r"(?i:angstroe?ms?|ang)|Å|\u212b"}


@dataclass(frozen=True)
class Geometry:
    """Atoms, and what came with them.

    Attributes:
        atoms: symbol, x, y, z of each atom, in `units`.
        where: file, and line if one is known, that states what follows.
        units: `bohr` or `angstrom` where stated.
        charge: total charge where stated.
        spin: n_up - n_down where stated.
        mentions_bohr: whether bohr is mentioned without a statement that the coordinates are in it.
    """

    atoms: list[Atom]
    where: str
    units: str | None = None
    charge: int | None = None
    spin: int | None = None
    mentions_bohr: bool = False

    def settled(self, units: str | None, charge: int | None, spin: int | None) -> tuple[str, int, int]:
        """Combine what was given with what is stated; what is taken from the geometry is logged.

        Args:
            units: unit that the user gave, or None.
            charge: charge that the user gave, or None.
            spin: n_up - n_down that the user gave, or None.

        Returns:
            Units (angstrom unless said otherwise), charge and spin (zero unless said otherwise).

        Raises:
            ValueError: what was given contradicts what is stated, or the units are not clear.
        """
        if units is None and self.units is None and self.mentions_bohr:
            raise ValueError(f"{self.where} mentions bohr: say units=bohr or units=angstrom")
        return (
            self._settle("units", units, self.units, "angstrom"),
            self._settle("charge", charge, self.charge, 0),
            self._settle("spin", spin, self.spin, 0),
        )

    def _settle(self, name: str, given: Any, stated: Any, default: Any) -> Any:
        if given is not None and stated is not None and given != stated:
            raise ValueError(
                f"{name}={given} contradicts {self.where}, which says {name}={stated}: correct one of them"
            )
        if given is None and stated is not None:
            logger.info("%s=%s is taken from %s", name, stated, self.where)
        return given if given is not None else default if stated is None else stated


def whole_sum(values: Any, what: str, option: str) -> int | None:
    """Add up charges or magnetic moments of the atoms.

    Args:
        values: one number for each atom.
        what: what they are, in messages.
        option: the argument that can be given instead.

    Returns:
        The sum; None where all of them are zero.

    Raises:
        ValueError: there is more than one number for an atom, or the sum is not a whole number.
    """
    numbers = [float(value) for value in values] if getattr(values, "ndim", 1) == 1 else None
    if numbers is None:
        raise ValueError(f"{what} of the atoms are vectors: remove them, and give {option}")
    if not any(numbers):
        return None
    total = sum(numbers)
    if not abs(total - (whole := round(total) if total == total and abs(total) < 1e6 else 0)) < _INTEGER_TOLERANCE:
        raise ValueError(
            f"{what} of the atoms add up to {total:g}, not to a whole number: remove them, and give {option}"
        )
    return whole


def spin_of(spin: int | None, multiplicity: int | None, where: str) -> int | None:
    """Combine a spin and a multiplicity.

    Args:
        spin: n_up - n_down, or None.
        multiplicity: 2S + 1, or None.
        where: file and line in messages.

    Returns:
        n_up - n_down, None where neither is stated.

    Raises:
        ValueError: the two differ, or the multiplicity is not positive.
    """
    if multiplicity is None:
        return spin
    if multiplicity < 1 or spin not in (None, multiplicity - 1):
        also = "" if spin is None else f" and spin={spin}, which is n_up - n_down,"
        raise ValueError(f"{where}: multiplicity={multiplicity}{also} cannot be: it is n_up - n_down + 1")
    return multiplicity - 1


def statements(text: str, where: str) -> dict[str, Any]:
    """Find charge, multiplicity, spin and units in free text.

    `charge=-1`, `charge: -1`, `charge -1 mult 2`, `units=bohr`, `in bohr` and a text of only `-1 2`, charge and
    multiplicity, are understood.

    Args:
        text: comment of an xyz file.
        where: file and line in messages.

    Returns:
        `charge`, `spin`, `units` where stated, and `mentions_bohr`.

    Raises:
        ValueError: a statement is not a whole number, or two contradict each other.
    """
    found = {name: _whole(name, pattern, text, where) for name, pattern in _KEYS.items()}
    if pair := _PAIR.fullmatch(text):
        found |= {"charge": int(pair[1]), "multiplicity": int(pair[2])}
    units, mentions_bohr = _units(text, where)
    return {
        "charge": found["charge"],
        "spin": spin_of(found["spin"], found["multiplicity"], where),
        "units": units,
        "mentions_bohr": mentions_bohr,
    }


def _whole(name: str, pattern: str, text: str, where: str) -> int | None:
    match = re.search(rf"(?i)(?<![\w-])(?:{pattern})\s*[=:]\s*(?P<value>\"[^\"]*\"|[^\s,;]*)", text)
    if match is None:
        match = re.search(rf"(?i)(?<![\w-])(?:{pattern})\s+(?P<value>[+-]?\d+)(?![\w.])", text)
    if match is None:
        return None
    value = match["value"].strip("\"'")
    if not re.fullmatch(r"[+-]?\d{1,6}(?:\.0*)?", value, re.ASCII):
        raise ValueError(f"{where}: {name}={value} is not a whole number")
    return int(float(value))


def _units(text: str, where: str) -> tuple[str | None, bool]:
    keyed = re.search(r"(?i)(?<!\w)units?\s*[=:]\s*\"?([^\s,;\"]+)", text)
    if keyed:
        for name, pattern in _UNITS.items():
            if re.fullmatch(rf"(?i:{pattern})", keyed[1]):
                return name, False
        raise ValueError(f"{where}: units={keyed[1]} is not a length unit: choose one of bohr, angstrom")
    for name, pattern in _UNITS.items():
        if re.search(rf"(?i:(?<!\w)in\s+(?:{pattern}))(?!\w)", text) or re.fullmatch(
            rf"(?i:\W*(?:{pattern})\W*)", text
        ):
            return name, False
    return None, re.search(r"(?i)\bbohrs?\b", text) is not None


def shown(path: str | Path, line: int) -> str:
    """Name a line of a file.

    Args:
        path: the file.
        line: its number, from 1.

    Returns:
        Text for messages.
    """
    return f"{path}, line {line}"
