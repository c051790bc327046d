"""Molecules with fixed nuclei: which nuclei, where, and how many electrons of each spin.

Dimension letters: A nuclei.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.system.ecp import checked
from qmcnet.system.electrons import check_electrons, summary
from qmcnet.system.elements import SYMBOLS, atomic_number, chemical_formula, ground_state_spin
from qmcnet.system.geometries import Geometry
from qmcnet.system.geometry import check_lists, check_nuclei, check_number, checked_position, integer, length_in_bohr
from qmcnet.system.objects import ase_geometry, check_mole
from qmcnet.system.readers import read_file
from qmcnet.system.units import to_bohr
from qmcnet.system.xyz import read_xyz


@dataclass(frozen=True)
class Molecule:
    """Nuclei at fixed positions with a number of spin-up and spin-down electrons.

    Attributes:
        symbols: element symbols, (A,).
        coordinates: nuclear positions, (A, 3), bohr.
        charge: total charge in units of the elementary charge.
        spin: n_up - n_down, zero or positive.
        ecp: core potentials, pairs of element and `Ecp`; given also as a set, a file, or one of these by element.
    """

    symbols: tuple[str, ...]
    coordinates: tuple[tuple[float, float, float], ...]
    charge: int = 0
    spin: int = 0
    ecp: Any = ()

    def __post_init__(self) -> None:
        """Bring the fields to canonical form and refuse what is not a molecule."""
        check_lists(symbols=self.symbols, coordinates=self.coordinates)
        symbols = tuple(SYMBOLS[atomic_number(symbol) - 1] for symbol in self.symbols)
        coordinates = tuple(checked_position(row, i) for i, row in enumerate(self.coordinates, start=1))
        object.__setattr__(self, "symbols", symbols)
        object.__setattr__(self, "coordinates", coordinates)
        object.__setattr__(self, "charge", integer("charge", self.charge))
        object.__setattr__(self, "spin", integer("spin", self.spin))
        check_nuclei(symbols, coordinates)
        object.__setattr__(self, "ecp", checked(self.ecp, symbols))
        check_electrons(self.n_electrons, self.charge, self.spin)

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
        check_lists(atoms=atoms)
        coordinates = []
        for i, atom in enumerate(atoms, start=1):
            if isinstance(atom, str) or not isinstance(atom, Sequence) or len(atom) != 4:
                raise ValueError(f"atoms: row {i} is {atom!r}: write [symbol, x, y, z]")
            x, y, z = checked_position(atom[1:], i)
            coordinates.append((to_bohr(x, units), to_bohr(y, units), to_bohr(z, units)))
        return cls(tuple(atom[0] for atom in atoms), tuple(coordinates), charge, spin)

    @classmethod
    def from_xyz(
        cls, path: str | Path, charge: int | None = None, spin: int | None = None, units: str | None = None
    ) -> "Molecule":
        """Read a molecule from a plain or extended xyz file with one frame.

        Args:
            path: the file.
            charge: total charge; None takes what the comment says, else 0.
            spin: n_up - n_down; None takes what the comment says, else 0.
            units: unit of the file, `bohr` or `angstrom`; None takes what the comment says, else angstrom.

        Returns:
            The molecule.
        """
        return cls._from_geometry(read_xyz(path), charge, spin, units)

    @classmethod
    def from_file(cls, path: str | Path, charge: int | None = None, spin: int | None = None) -> "Molecule":
        """Read a molecule from a file of any format that ASE knows: Gaussian, ORCA, pdb, mol, sdf and many others.

        Args:
            path: the file, with one geometry.
            charge: total charge; None takes what the file says, else 0.
            spin: n_up - n_down; None takes what the file says, else 0.

        Returns:
            The molecule.
        """
        return cls._from_geometry(read_file(path), charge, spin)

    @classmethod
    def from_pyscf(cls, mol: Any) -> "Molecule":
        """Copy nuclei, charge, spin and effective core potentials from a built PySCF `Mole`.

        Args:
            mol: `pyscf.gto.Mole` without ghost atoms.

        Returns:
            The molecule.
        """
        symbols, ecp = check_mole(mol)
        return cls(symbols, mol.atom_coords().tolist(), mol.charge, mol.nelec[0] - mol.nelec[1], ecp)

    @classmethod
    def from_ase(cls, atoms: Any, charge: int | None = None, spin: int | None = None) -> "Molecule":
        """Copy the nuclei of an ASE `Atoms` object.

        Args:
            atoms: non-periodic `ase.Atoms`.
            charge: total charge; None takes the sum of initial charges, else 0.
            spin: n_up - n_down; None takes the sum of initial magnetic moments, else 0.

        Returns:
            The molecule.
        """
        return cls._from_geometry(ase_geometry(atoms), charge, spin)

    @classmethod
    def _from_geometry(
        cls, geometry: Geometry, charge: int | None, spin: int | None, units: str | None = None
    ) -> "Molecule":
        return cls.from_atoms(geometry.atoms, *geometry.settled(units, charge, spin))

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
            spin = ground_state_spin(atomic_number(symbol), integer("charge", charge))
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
        cls, symbol: str, n_atoms: int, bond_length: float, units: str, charge: int = 0, spin: int | None = None
    ) -> "Molecule":
        """Build equally spaced atoms along z.

        Args:
            symbol: element symbol.
            n_atoms: number of atoms, at most 1000.
            bond_length: distance of neighbours, in `units`.
            units: `bohr` or `angstrom`.
            charge: total charge.
            spin: n_up - n_down; None takes the lowest one possible.

        Returns:
            The molecule.
        """
        z = length_in_bohr("bond_length", bond_length, units)
        check_number("n_atoms", integer("n_atoms", n_atoms))
        if spin is None:
            spin = (n_atoms * atomic_number(symbol) - integer("charge", charge)) % 2
        return cls((symbol,) * n_atoms, tuple((0.0, 0.0, i * z) for i in range(n_atoms)), charge, spin)

    @property
    def nuclei(self) -> Tensor:
        """Nuclear positions, (A, 3) float64, bohr."""
        return torch.tensor(self.coordinates, dtype=torch.float64)

    def with_ecp(self, ecp: Any) -> "Molecule":
        """Replace cores by effective core potentials.

        Args:
            ecp: as of the molecule; None leaves all electrons.

        Returns:
            The molecule with the electrons that are left.
        """
        return replace(self, ecp=ecp)

    @property
    def cores(self) -> tuple[int, ...]:
        """Electrons that an effective core potential stands for, by nucleus, (A,)."""
        n_core = {symbol: potential.n_core for symbol, potential in self.ecp}
        return tuple(n_core.get(symbol, 0) for symbol in self.symbols)

    @property
    def charges(self) -> Tensor:
        """Charges that electrons far away see, without those of the cores, (A,) float64."""
        numbers = map(atomic_number, self.symbols)
        return torch.tensor([z - n for z, n in zip(numbers, self.cores, strict=True)], dtype=torch.float64)

    @property
    def point_charges(self) -> Tensor:
        """Charges that the potential of an electron goes to infinity with, 0 behind a core potential, (A,) float64."""
        soft = {symbol for symbol, _ in self.ecp}
        bare = [0 if symbol in soft else atomic_number(symbol) for symbol in self.symbols]
        return torch.tensor(bare, dtype=torch.float64)

    @property
    def n_electrons(self) -> int:
        """Number of electrons, without those of the cores."""
        return sum(map(atomic_number, self.symbols)) - sum(self.cores) - self.charge

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
        return summary(self)
