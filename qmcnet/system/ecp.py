"""Effective core potentials: what stands for the nucleus and the core electrons of an element.

References:
    Bennett, Melton, Annaberdiyev, Wang, Shulenburger, Mitas, J. Chem. Phys. 147, 224106 (2017), doi:10.1063/1.4995643
    (ccECP).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePath
from typing import Any

from qmcnet.system.elements import atomic_number

Term = tuple[int, float, float]
"""Power n, exponent a in 1/bohr^2 and coefficient c of c r^(n - 2) exp(-a r^2), in hartree."""


@dataclass(frozen=True)
class Ecp:
    """-(Z - n_core) / r + local(r) + sum_l channels_l(r) P_l, with the projector P_l on angular momentum l.

    Attributes:
        n_core: electrons that it stands for.
        local: terms that act on all angular momenta alike.
        channels: terms that act on angular momentum l = 0, 1, ... alone.
        name: of the published set that it belongs to; empty for one of the user's own.
    """

    n_core: int
    local: tuple[Term, ...]
    channels: tuple[tuple[Term, ...], ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Bring the numbers to canonical form, as after a file.

        Raises:
            ValueError: for a negative or odd number of core electrons, or terms that are not three numbers.
        """
        if isinstance(self.n_core, bool) or not isinstance(self.n_core, int) or self.n_core < 0 or self.n_core % 2:
            raise ValueError(f"n_core={self.n_core!r} must be the number of electrons of closed shells: 0, 2, 10, ...")
        object.__setattr__(self, "local", _terms(self.local))
        object.__setattr__(self, "channels", tuple(map(_terms, self.channels)))

    @property
    def width(self) -> float:
        """Of the widest of its Gaussians exp(-r^2 / width^2), in the channels if there are any, in bohr."""
        terms = [term for term in chain.from_iterable(self.channels) if term[2]] or self.local
        return float(max((exponent**-0.5 for _, exponent, _ in terms), default=0.0))


def _terms(rows: Sequence[Sequence[float]]) -> tuple[Term, ...]:
    try:
        found = tuple((int(n), float(a), float(c)) for n, a, c in rows if n == int(n))
    except (TypeError, ValueError):
        raise ValueError(f"terms of an effective core potential {rows!r} must be rows [n, exponent, factor]") from None
    if len(found) < len(rows) or not all(map(math.isfinite, chain.from_iterable(found))):
        raise ValueError(f"terms of an effective core potential {rows!r} must be finite, and their n whole numbers")
    for row in found:
        if row[0] < 0 or row[1] <= 0:
            raise ValueError(
                f"term {list(row)} of an effective core potential must have n >= 0 and a positive exponent"
            )
    return found


def checked(ecp: Any, symbols: Sequence[str]) -> tuple[tuple[str, Ecp], ...]:
    """Bring the potentials of a molecule to canonical form.

    Args:
        ecp: name of a set, a file, or by element, as a mapping or pairs, one of these, a potential, its fields or None.
        symbols: element symbols of the molecule.

    Returns:
        Pairs of element and potential, in the order of the alphabet.

    Raises:
        ValueError: for what is none of these, or an element that the molecule does not have.
    """
    elements = sorted({*symbols})
    if ecp is None or isinstance(ecp, str | PurePath):
        by_element = dict.fromkeys(elements, ecp)
    else:
        try:
            by_element = dict(ecp)
        except (TypeError, ValueError):
            raise ValueError(f"ecp={ecp!r} must be a set, a file, or one of these for each element") from None
    if strange := sorted({*by_element} - {*elements}):
        raise ValueError(f"ecp names {', '.join(map(str, strange))}, and the molecule has {', '.join(elements)}")
    found = ((symbol, _found(by_element.get(symbol), symbol)) for symbol in elements)
    kept = tuple((symbol, potential) for symbol, potential in found if potential is not None)
    for symbol, potential in kept:
        _check_finite(potential, symbol)
    return kept


def _check_finite(ecp: Ecp, symbol: str) -> None:
    """Refuse potentials that go to infinity at the nucleus, which wavefunctions here are too smooth for."""
    charge = atomic_number(symbol) - ecp.n_core
    if charge < 1:
        raise ValueError(f"ecp: {ecp.n_core} core electrons leave {symbol} a charge of {charge}")
    parts = (ecp.local, *ecp.channels)
    poles = [sum(c for n, _, c in terms if n == 1) - charge * (terms is ecp.local) for terms in parts]
    if max(map(abs, poles)) > 1e-6 * charge or any(n == 0 and c for terms in parts for n, _, c in terms):
        where = f"the potential of {symbol} goes to infinity at the nucleus"
        raise ValueError(f"ecp: {where}, which is not supported: try ccecp or bfd")


def _found(given: Any, symbol: str) -> Ecp | None:
    from qmcnet.system.ecp_sources import read_ecp  # which makes potentials as they are here

    if given is None or isinstance(given, Ecp):
        return given
    if isinstance(given, str | PurePath):
        return read_ecp(given, symbol)
    try:
        return Ecp(**given)
    except TypeError:
        raise ValueError(f"ecp of {symbol}: {given!r} is no set, no file, and not n_core, local, channels") from None
