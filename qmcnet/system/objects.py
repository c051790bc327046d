"""Geometries of objects of other packages: ASE `Atoms` and PySCF `Mole`."""

from typing import Any

from qmcnet.system.ecp import Ecp
from qmcnet.system.ecp_sources import from_pyscf, recognised
from qmcnet.system.elements import atomic_number
from qmcnet.system.geometries import Geometry, spin_of, whole_sum
from qmcnet.system.geometry import Atom


def ase_geometry(atoms: Any, where: str = "atoms") -> Geometry:
    """Read an ASE object; initial charges and magnetic moments, and those in `atoms.info`, state charge and spin.

    Args:
        atoms: non-periodic `ase.Atoms`.
        where: name of the object in messages.

    Returns:
        Atoms in angstrom with what they state.

    Raises:
        ValueError: `atoms` is no such object, is periodic, has dummy atoms, or charges or moments that are not
            whole in sum.
    """
    if not all(hasattr(atoms, name) for name in ("get_chemical_symbols", "get_positions", "pbc")):
        raise ValueError(f"atoms={type(atoms).__name__} is not an ase.Atoms object: give a single one")
    if any(atoms.pbc):
        pbc = " ".join("FT"[bool(flag)] for flag in atoms.pbc)
        raise ValueError(f"{where}: pbc={pbc}: periodic cells are not supported, set pbc=False")
    rows: list[Atom] = []
    for symbol, (x, y, z) in zip(atoms.get_chemical_symbols(), atoms.get_positions().tolist(), strict=True):
        if symbol == "X":
            raise ValueError(f"{where}: atom {len(rows) + 1} is a dummy atom (X) without electrons: remove it")
        rows.append((symbol, x, y, z))
    charge, moments = _charge_and_moments(atoms)
    info = {name: _info(atoms, name, where) for name in ("charge", "spin", "multiplicity")}
    spin = spin_of(info["spin"], info["multiplicity"], where)
    for name, stated, summed in (("charge", info["charge"], charge), ("spin", spin, moments)):
        if None not in (stated, summed) and stated != summed:
            raise ValueError(
                f"{where}.info says {name}={stated}, and its atoms add up to {summed}: correct one of them"
            )
    charge, spin = (a if b is None else b for a, b in ((charge, info["charge"]), (moments, spin)))
    return Geometry(rows, where, "angstrom", charge, spin)


def _charge_and_moments(atoms: Any) -> tuple[int | None, int | None]:
    charge = whole_sum(atoms.get_initial_charges(), "charges", "charge")
    moments = whole_sum(atoms.get_initial_magnetic_moments(), "magnetic moments", "spin")
    return charge, None if moments is None else abs(moments)


def _info(atoms: Any, name: str, where: str) -> int | None:
    value = atoms.info.get(name)
    if value is None:
        return None
    try:
        if not float(value) % 1:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{where}.info[{name!r}]={value!r} is not a whole number")


def check_mole(mol: Any) -> tuple[tuple[str, ...], dict[str, Ecp]]:
    """Refuse what is not a built PySCF molecule, and read its effective core potentials.

    Args:
        mol: `pyscf.gto.Mole`.

    Returns:
        Symbols of its atoms, and the potentials by element.

    Raises:
        ValueError: `mol` is a mean field, a periodic cell, not built, has ghosts, or atoms of an element differ.
    """
    kind = type(mol).__name__
    if not hasattr(mol, "atom_coords"):
        hint = "give its molecule, mf.mol" if hasattr(mol, "mol") else "give a pyscf.gto.Mole"
        raise ValueError(f"mol={kind} is not a PySCF molecule: {hint}")
    if hasattr(mol, "lattice_vectors"):
        raise ValueError(f"mol={kind}: periodic cells are not supported, give a pyscf.gto.Mole")
    if not mol.natm or not getattr(mol, "_built", True):
        raise ValueError("mol has not been built: call mol.build() first")
    found: dict[str, Ecp] = {}
    for i, charge in enumerate(mol.atom_charges()):
        symbol, raw = mol.atom_pure_symbol(i), mol._ecp.get(mol.atom_symbol(i))
        if charge == 0 or charge != atomic_number(symbol) - (raw[0] if raw else 0):
            raise ValueError(f"mol: {symbol} has nuclear charge {charge}: remove ghosts")
        ecp = recognised(from_pyscf(raw, f"mol: the potential of {symbol}"), symbol) if raw else None
        if i and symbol in map(mol.atom_pure_symbol, range(i)) and found.get(symbol) != ecp:
            raise ValueError(f"mol: atoms {symbol} have different core potentials: give all the same")
        found |= {symbol: ecp} if ecp else {}
    return tuple(mol.atom_pure_symbol(i) for i in range(mol.natm)), found
