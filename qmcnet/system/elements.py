"""Elements H to Kr: symbols, ground-state spins and Slater's atomic shells.

References:
    Slater, Phys. Rev. 36, 57 (1930), doi:10.1103/PhysRev.36.57.
    Kramida, Ralchenko, Reader, NIST Atomic Spectra Database, doi:10.18434/T4W30F (ground-state terms).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

_LINE = "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr"
SYMBOLS = tuple(_LINE.split())
"""Symbols of the supported elements; `SYMBOLS[Z - 1]` is that of atomic number Z."""

_SPINS = (1, 0, *(1, 0, 1, 2, 3, 2, 1, 0) * 2, 1, 0, 1, 2, 3, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0)
_GROUPS = ((1, "sp"), (2, "sp"), (3, "sp"), (3, "d"), (4, "sp"))
_QUANTUM_NUMBER = {1: 1.0, 2: 2.0, 3: 3.0, 4: 3.7}
_CHROMIUM, _COPPER = 24, 29
_LARGEST_REGULAR_ION = 18


@dataclass(frozen=True)
class Shell:
    """One of Slater's groups of electrons, with radial orbital r^(n* - 1) exp(-zeta r).

    Attributes:
        n: principal quantum number.
        zeta: exponent (Z - screening) / n*, in 1/bohr.
        electrons: number of electrons in the group.
        places: most of them.
    """

    n: int
    zeta: float
    electrons: int
    places: int


def atomic_number(symbol: str) -> int:
    """Look up the atomic number of an element.

    Args:
        symbol: element symbol in any letter case.

    Returns:
        The atomic number Z.

    Raises:
        ValueError: the symbol is not that of an element from H to Kr.
    """
    name = symbol.strip().capitalize() if isinstance(symbol, str) else symbol
    if name not in SYMBOLS:
        close = get_close_matches(name, SYMBOLS, cutoff=0.5) if isinstance(name, str) else []
        hint = f"did you mean {' or '.join(close)}?" if close else "write a symbol from H to Kr"
        raise ValueError(f"symbol={symbol!r} is not a supported element: {hint}")
    return SYMBOLS.index(name) + 1


def ground_state_spin(number: int, charge: int = 0) -> int:
    """Look up n_up - n_down of the ground state of an atom.

    The experimental value for a neutral atom. An ion of up to 18 electrons gets that of the neutral atom with
    as many electrons; beyond, the 3d and 4s shells fill in another order than in neutral atoms.

    Args:
        number: atomic number Z from 1 to 36.
        charge: charge of the ion.

    Returns:
        Twice the total spin, the multiplicity minus one.

    Raises:
        ValueError: no electron is left, or the ion has more than 18 electrons.
    """
    _check_number(number)
    n_electrons = number - charge
    if n_electrons < 1:
        raise ValueError(f"charge={charge} leaves {n_electrons} electrons: at most {number - 1} is possible")
    if charge and n_electrons > _LARGEST_REGULAR_ION:
        ion = f"{SYMBOLS[number - 1]} with charge={charge}"
        raise ValueError(f"the ground-state spin of {ion} is not known: give spin, its n_up - n_down")
    return _SPINS[n_electrons - 1]


def shells(number: int, n_core: int = 0) -> tuple[Shell, ...]:
    """List the occupied shells of a neutral atom with the exponents of Slater's rules.

    Args:
        number: atomic number Z from 1 to 36.
        n_core: electrons of the innermost shells to leave out; one electron is left at least, in the outermost shell.

    Returns:
        Shells in Slater's order (1s), (2s 2p), (3s 3p), (3d), (4s 4p), exponents in 1/bohr.
    """
    _check_number(number)
    occupied, left_out, found = _occupations(number), n_core, []
    for group, (n, kind) in enumerate(_GROUPS):
        electrons = max(occupied[group] - left_out, 0)
        left_out -= occupied[group] - electrons
        if electrons:
            places = 10 if kind == "d" else 2 if n == 1 else 8
            found.append(Shell(n, (number - _screening(group, occupied)) / _QUANTUM_NUMBER[n], electrons, places))
    return tuple(found)


_POSITIVE_FIRST = " Kr Ar Ne He K Na Li Ca Mg Be Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Al B Ge Si C As P N H Se S O Br Cl F "


def chemical_formula(symbols: Sequence[str], charge: int = 0) -> str:
    """Write a chemical formula as chemists do: with carbon in Hill order, else the most electropositive first.

    Hill order is C, H and then the alphabet. The other order is that of the IUPAC Red Book (2005), Table VI.

    Args:
        symbols: element symbol of each atom.
        charge: total charge.

    Returns:
        The formula, such as `CH4`, `LiH`, `H2+` or `O(2-)`.
    """
    counts = Counter(symbols)
    hill = sorted(counts, key=lambda symbol: (symbol not in ("C", "H"), symbol))
    order = hill if "C" in counts else sorted(counts, key=lambda symbol: _POSITIVE_FIRST.index(f" {symbol} "))
    formula = "".join(s if counts[s] == 1 else f"{s}{counts[s]}" for s in order)
    sign = "+" if charge > 0 else "-"
    return formula + {0: "", 1: sign}.get(abs(charge), f"({abs(charge)}{sign})")


def _check_number(number: int) -> None:
    if not 1 <= number <= len(SYMBOLS):
        raise ValueError(f"number={number!r} is not a supported atomic number: allowed are 1..{len(SYMBOLS)}")


def _occupations(number: int) -> tuple[int, ...]:
    first, second, third = min(number, 2), min(max(number - 2, 0), 8), min(max(number - 10, 0), 8)
    outer = number - first - second - third
    s = min(outer, 1 if number in (_CHROMIUM, _COPPER) else 2)
    d = min(outer - s, 10)
    return first, second, third, d, outer - d


def _screening(group: int, occupied: tuple[int, ...]) -> float:
    n, kind = _GROUPS[group]
    total = (0.30 if n == 1 else 0.35) * (occupied[group] - 1)
    for inner in range(group):
        next_shell = kind == "sp" and _GROUPS[inner][0] == n - 1
        total += (0.85 if next_shell else 1.0) * occupied[inner]
    return total
