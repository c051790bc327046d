"""Effective core potentials that PySCF knows or reads from a file."""

import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any

from qmcnet.system.ecp import Ecp

_BASES = {
    "ccecp": "ccecp-{aug}cc-pvdz",
    "ccecphe": "ccecp-he-{aug}cc-pvdz",
    "ccecpreg": "ccecp-reg-{aug}cc-pvdz",
    "bfd": "bfd-vdz",
    "bfdpp": "bfd-vdz",
}
"""Basis sets that were made for a set of potentials, under its name without signs."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+*()-]{0,60}")
"""Names of sets. PySCF takes other texts for potentials themselves, whose numbers it evaluates as a program."""
_NUMBER = r"[-+]?(\d+\.?\d*|\.\d+)([eEdD][-+]?\d+)?"
_HEAD = r"[A-Za-z]{1,3}\s+(nelec\s+\d+|[a-z]{1,2})"
_LINE = re.compile(rf"\s*({_HEAD}|[0-6](\s+{_NUMBER}){{2,3}}|ecp|end)?\s*(#.*)?", re.IGNORECASE)
"""A line of a file in the format of NWChem: what PySCF does not know as a number it would take for a program."""
_OTHERS = {
    "Gaussian": r"[A-Za-z]{1,3}\s+0|\S+\s+\d+\s+\d+",
    "GAMESS": r"\S+\s+(gen\s+\d+\s+\d+|none)|\$ecp.*",
    "Molpro": r"ecp\s*,.*",
    "XML or UPF": r"<.*",
}
"""First lines in other formats."""


def read_ecp(source: str | PurePath, symbol: str) -> Ecp:
    """Look up the effective core potential of an element.

    Args:
        source: name of a set that PySCF knows, or a file in the format of NWChem.
        symbol: element symbol.

    Returns:
        The potential.

    Raises:
        ValueError: for an unknown set, an element that it or the file lacks, a malformed file, or spin-orbit terms.
    """
    path = Path(source)
    if not isinstance(source, PurePath) and _NAME.fullmatch(source) and not path.is_file():
        return from_pyscf(_known(source, symbol), f"ecp={source}", re.sub(r"[-_ ]", "", source.lower()))
    return recognised(from_pyscf(_from_file(path, symbol), f"ecp={source}"), symbol)


def from_pyscf(raw: Any, where: str, name: str = "") -> Ecp:
    """Copy a potential of PySCF.

    Args:
        raw: number of core electrons, and for each angular momentum, -1 for all, terms by their power n = 0, 1, ...
        where: it comes from, in messages.
        name: of the set.

    Returns:
        The potential.

    Raises:
        ValueError: for spin-orbit terms.
    """
    n_core, blocks = raw
    terms = {degree: _terms(by_power, where) for degree, by_power in blocks}
    degrees = range(max(terms, default=-1) + 1)
    return Ecp(int(n_core), tuple(terms.get(-1, ())), tuple(tuple(terms.get(degree, ())) for degree in degrees), name)


def recognised(ecp: Ecp, symbol: str) -> Ecp:
    """Recognise a potential of a set with basis sets of its own, wherever it comes from.

    Args:
        ecp: the potential.
        symbol: element symbol.

    Returns:
        That of the set where all numbers agree, else what was given.
    """
    for name in _BASES:
        with suppress(ValueError):
            known = from_pyscf(_known(name, symbol), name, name)
            if _content(known) == _content(ecp):
                return known
    return ecp


def _content(ecp: Ecp) -> tuple[Any, ...]:
    """What of a potential has an effect, in an order of its own."""
    parts = (sorted(term for term in terms if term[2]) for terms in (ecp.local, *ecp.channels))
    return ecp.n_core, *((degree, *terms) for degree, terms in enumerate(parts) if terms)


def to_pyscf(ecp: Ecp) -> list[Any]:
    """Write a potential as PySCF does."""
    by_degree = {-1: ecp.local} | dict(enumerate(ecp.channels))
    powers = range(max(7, 1 + max((n for terms in by_degree.values() for n, _, _ in terms), default=0)))
    return [
        ecp.n_core,
        [[degree, [[[a, c] for m, a, c in terms if m == n] for n in powers]] for degree, terms in by_degree.items()],
    ]


def _terms(by_power: Sequence[Sequence[Sequence[float]]], where: str) -> list[tuple[int, float, float]]:
    rows = [(power, *row) for power, same in enumerate(by_power) for row in same]
    if any(len(row) > 3 for row in rows):
        raise ValueError(f"{where} has spin-orbit terms, which are not supported: take them out")
    return [(int(n), a, c) for n, a, c in rows]


def _known(name: str, symbol: str) -> Any:
    """Ask PySCF for a potential by its name."""
    from pyscf.gto.basis import load_ecp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PySCF advises to install another package for every unknown name
        try:
            found = load_ecp(name, symbol)
        except Exception:  # of several kinds, some of which speak of files that are not there
            found = []
    if not found:
        raise ValueError(f"ecp={name!r} has no potential for {symbol}: try ccecp or bfd, or name a file")
    return found


def _from_file(path: Path, symbol: str) -> Any:
    from pyscf.gto.basis import parse_nwchem_ecp

    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        raise ValueError(f"ecp={str(path)[:60]} is no name of a set, and no file to be read: {error}") from None
    lines = [line.strip() for line in text.splitlines()]
    marks = [line.partition("#")[0].strip().lower() for line in lines]
    start = marks.index("ecp") if "ecp" in marks else 0  # after basis sets
    for number, line in enumerate(lines[start:], start=start + 1):
        if not _LINE.fullmatch(line):
            raise ValueError(f"ecp={path}: line {number}, {line[:60]!r}, {_what(line)}")
    lines = [re.sub(r"(?<=[\d.])[dD](?=[-+]?\d)", "e", line) for line in lines[start:]]  # as Fortran writes
    lines = [re.sub(r"^[A-Za-z]+", lambda name: name[0].capitalize(), line) for line in lines]
    text = "\n".join(lines)
    parts = re.findall(rf"^{symbol}\s+([a-z]+)", text.lower(), re.MULTILINE | re.IGNORECASE)
    if twice := next((part for part in parts if parts.count(part) > 1), None):
        raise ValueError(f"ecp={path} has '{symbol} {twice}' more than once: leave one")
    try:
        found = parse_nwchem_ecp.parse(text, symbol)
    except Exception:  # of several kinds, for a file without the element or one that is cut off
        found = []
    if not found:
        raise ValueError(f"ecp={path} has no potential for {symbol} in the format of NWChem")
    return found


def _what(line: str) -> str:
    """Say what a line is that is not of the format."""
    if line.lower() == "so":
        return "begins spin-orbit terms, which are not supported: take them out"
    known = [name for name, pattern in _OTHERS.items() if re.fullmatch(pattern, line, re.IGNORECASE)]
    return f"is of the format of {known[0]}: give it in that of NWChem" if known else "is not of the format of NWChem"


def matched_basis(ecp: Ecp, augmented: bool) -> str | None:
    """Name the basis set that was made for the set of a potential.

    Args:
        ecp: the potential.
        augmented: whether diffuse functions are wanted, if there are any.

    Returns:
        Its name in PySCF; None where there is none.
    """
    return _BASES[ecp.name].format(aug="aug-" * augmented) if ecp.name in _BASES else None
