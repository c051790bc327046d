"""Molecules with fixed nuclei: which nuclei, where, and how many electrons of each spin.

Dimension letters: A nuclei.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.elements import SYMBOLS, atomic_number, chemical_formula, ground_state_spin
from qmcnet.geometry import check_nuclei, checked_position, length_in_bohr, read_xyz
from qmcnet.units import BOHR_PER_ANGSTROM, to_bohr


@dataclass(frozen=True)
class Molecule:
    """Nuclei at fixed positions with a number of spin-up and spin-down electrons.

    Attributes:
        symbols: element symbols, (A,).
        coordinates: nuclear positions, (A, 3), bohr.
        charge: total charge in units of the elementary charge.
        spin: n_up - n_down, zero or positive.
    """

    symbols: tuple[str, ...]
    coordinates: tuple[tuple[float, float, float], ...]
    charge: int = 0
    spin: int = 0

    def __post_init__(self) -> None:
        """Bring the fields to canonical form and refuse what is not a molecule."""
        symbols = tuple(SYMBOLS[atomic_number(symbol) - 1] for symbol in self.symbols)
        coordinates = tuple(checked_position(row, i) for i, row in enumerate(self.coordinates, start=1))
        object.__setattr__(self, "symbols", symbols)
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "charge", _integer("charge", self.charge))
        object.__setattr__(self, "spin", _integer("spin", self.spin))
        check_nuclei(symbols, coordinates)
        self._check_electrons()

    @classmethod
    def from_atoms(
        cls, atoms: Sequence[Sequence[Any]], units: str = "bohr", charge: int = 0, spin: int = 0
    ) -> "Molecule":
        """Build a molecule from rows of symbol, x, y, z.

        Args:
            atoms: rows `[symbol, x, y, z]`, (A, 4), in `units`.
            units: `bohr` or `angstrom`.
            charge: total charge.
            spin: n_up - n_down.

        Returns:
            The molecule.

        Raises:
            ValueError: a row is not one symbol and three numbers.
        """
        coordinates = []
        for i, atom in enumerate(atoms, start=1):
            if isinstance(atom, str) or not isinstance(atom, Sequence) or len(atom) != 4:
                raise ValueError(f"atoms: row {i} is {atom!r}: write [symbol, x, y, z]")
            x, y, z = checked_position(atom[1:], i)
            coordinates.append((to_bohr(x, units), to_bohr(y, units), to_bohr(z, units)))
        return cls(tuple(atom[0] for atom in atoms), tuple(coordinates), charge, spin)

    @classmethod
    def from_xyz(cls, path: str | Path, charge: int = 0, spin: int = 0, units: str = "angstrom") -> "Molecule":
        """Read a molecule from an xyz file with one frame.

        Args:
            path: the file.
            charge: total charge.
            spin: n_up - n_down.
            units: unit of the file, `bohr` or `angstrom`.

        Returns:
            The molecule.
        """
        return cls.from_atoms(read_xyz(path), units, charge, spin)

    @classmethod
    def from_pyscf(cls, mol: Any) -> "Molecule":
        """Copy nuclei, charge and spin from a built all-electron PySCF `Mole`.

        Args:
            mol: `pyscf.gto.Mole`.

        Returns:
            The molecule.

        Raises:
            ValueError: `mol` has ghost atoms or effective core potentials.
        """
        symbols = tuple(mol.atom_pure_symbol(i) for i in range(mol.natm))
        for symbol, charge in zip(symbols, mol.atom_charges(), strict=True):
            if charge == 0 or charge != atomic_number(symbol):
                raise ValueError(
                    f"mol: {symbol} has nuclear charge {charge}: remove ghosts and effective core potentials"
                )
        n_up, n_down = mol.nelec
        return cls(symbols, mol.atom_coords().tolist(), mol.charge, n_up - n_down)

    @classmethod
    def from_ase(cls, atoms: Any, charge: int = 0, spin: int = 0) -> "Molecule":
        """Copy the nuclei of an ASE `Atoms` object.

        Args:
            atoms: non-periodic `ase.Atoms`.
            charge: total charge.
            spin: n_up - n_down.

        Returns:
            The molecule.

        Raises:
            ValueError: `atoms` is periodic.
        """
        if any(atoms.pbc):
            raise ValueError(f"atoms.pbc={atoms.pbc}: periodic cells are not supported, set pbc=False")
        positions = zip(atoms.get_chemical_symbols(), atoms.get_positions().tolist(), strict=True)
        return cls.from_atoms([(symbol, *row) for symbol, row in positions], "angstrom", charge, spin)

    @classmethod
    def atom(cls, symbol: str, charge: int = 0, spin: int | None = None) -> "Molecule":
        """Build an atom or atomic ion at the origin.

        Args:
            symbol: element symbol.
            charge: total charge.
            spin: n_up - n_down; None takes the ground state of the neutral atom and, for an ion of up to 18
                electrons, that of the neutral atom with as many electrons.

        Returns:
            The atom.
        """
        if spin is None:
            spin = ground_state_spin(atomic_number(symbol), _integer("charge", charge))
        return cls((symbol,), ((0.0, 0.0, 0.0),), charge, spin)

    @classmethod
    def diatomic(
        cls, first: str, second: str, bond_length: float, units: str, charge: int = 0, spin: int = 0
    ) -> "Molecule":
        """Build a diatomic molecule along z.

        Args:
            first: element symbol of the atom at the origin.
            second: element symbol of the other atom.
            bond_length: distance of the nuclei, in `units`.
            units: `bohr` or `angstrom`.
            charge: total charge.
            spin: n_up - n_down.

        Returns:
            The molecule.
        """
        z = length_in_bohr("bond_length", bond_length, units)
        return cls((first, second), ((0.0, 0.0, 0.0), (0.0, 0.0, z)), charge, spin)

    @classmethod
    def rectangle(
        cls, symbol: str, width: float, height: float, units: str, charge: int = 0, spin: int = 0
    ) -> "Molecule":
        """Build four equal atoms on a rectangle in the xy plane.

        Args:
            symbol: element symbol.
            width: side along x, in `units`.
            height: side along y, in `units`.
            units: `bohr` or `angstrom`.
            charge: total charge.
            spin: n_up - n_down.

        Returns:
            The molecule.
        """
        x, y = length_in_bohr("width", width, units) / 2, length_in_bohr("height", height, units) / 2
        return cls((symbol,) * 4, ((x, y, 0.0), (x, -y, 0.0), (-x, y, 0.0), (-x, -y, 0.0)), charge, spin)

    @classmethod
    def chain(
        cls,
        symbol: str,
        n_atoms: int,
        bond_length: float,
        units: str,
        charge: int = 0,
        spin: int | None = None,
    ) -> "Molecule":
        """Build equally spaced atoms along z.

        Args:
            symbol: element symbol.
            n_atoms: number of atoms.
            bond_length: distance of neighbours, in `units`.
            units: `bohr` or `angstrom`.
            charge: total charge.
            spin: n_up - n_down; None takes the lowest one possible.

        Returns:
            The molecule.
        """
        z = length_in_bohr("bond_length", bond_length, units)
        if spin is None:
            spin = (_integer("n_atoms", n_atoms) * atomic_number(symbol) - _integer("charge", charge)) % 2
        return cls((symbol,) * n_atoms, tuple((0.0, 0.0, i * z) for i in range(n_atoms)), charge, spin)

    @property
    def nuclei(self) -> Tensor:
        """Nuclear positions, (A, 3) float64, bohr."""
        return torch.tensor(self.coordinates, dtype=torch.float64)

    @property
    def charges(self) -> Tensor:
        """Nuclear charges, (A,) float64."""
        return torch.tensor([atomic_number(s) for s in self.symbols], dtype=torch.float64)

    @property
    def n_electrons(self) -> int:
        """Number of electrons."""
        return sum(map(atomic_number, self.symbols)) - self.charge

    @property
    def n_up(self) -> int:
        """Number of spin-up electrons."""
        return (self.n_electrons + self.spin) // 2

    @property
    def n_down(self) -> int:
        """Number of spin-down electrons."""
        return (self.n_electrons - self.spin) // 2

    @property
    def formula(self) -> str:
        """Chemical formula with the charge."""
        return chemical_formula(self.symbols, self.charge)

    @property
    def nuclear_repulsion(self) -> float:
        """Coulomb energy of the nuclei, sum_{I<J} Z_I Z_J / R_IJ, in hartree."""
        first, second = torch.triu_indices(len(self.symbols), len(self.symbols), offset=1)
        products = self.charges[first] * self.charges[second]
        return float((products / torch.pdist(self.nuclei)).sum())

    @property
    def nearest_neighbour(self) -> float | None:
        """Shortest distance of two nuclei in bohr, None for an atom."""
        return float(torch.pdist(self.nuclei).min()) if len(self.symbols) > 1 else None

    def summary(self) -> str:
        """Describe the molecule for people, lengths in bohr and in angstrom.

        Returns:
            Several lines: formula, charge, spin and electrons, then the geometry.
        """
        lines = [
            f"{self.formula}: charge {self.charge}, spin {self.spin}, "
            f"{self.n_electrons} electron{'s' * (self.n_electrons > 1)} ({self.n_up} up, {self.n_down} down)",
            f"{'':4}{'x, y, z in bohr':>36}  {'x, y, z in angstrom':>36}",
        ]
        for symbol, row in zip(self.symbols, self.coordinates, strict=True):
            bohr = "".join(f"{x:12.6f}" for x in row)
            angstrom = "".join(f"{x / BOHR_PER_ANGSTROM:12.6f}" for x in row)
            lines.append(f"{symbol:4}{bohr}  {angstrom}")
        if (distance := self.nearest_neighbour) is not None:
            in_angstrom = distance / BOHR_PER_ANGSTROM
            lines.append(f"nearest neighbours {distance:.6f} bohr = {in_angstrom:.6f} angstrom apart")
        return "\n".join(lines)

    def _check_electrons(self) -> None:
        n = self.n_electrons
        if n < 1:
            raise ValueError(f"charge={self.charge} leaves {n} electrons: at most {n + self.charge - 1} is possible")
        if not 0 <= self.spin <= n or (n - self.spin) % 2:
            allowed = ", ".join(map(str, range(n % 2, n + 1, 2)))
            raise ValueError(f"spin={self.spin} is impossible with {n} electrons: n_up - n_down is one of {allowed}")


def _integer(name: str, value: Any) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{name}={value!r} is not an integer: write a whole number such as 0 or 1")
