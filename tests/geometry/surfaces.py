"""Surfaces in closed form, in the place of runs."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from qmcnet.geometry.point import SurfacePoint
from qmcnet.system.molecule import Molecule

DEPTH, EXPONENT, LENGTH = 0.17, 1.03, 1.4
"""Of a Morse potential such as that of H2, in hartree, 1/bohr and bohr."""
STIFFNESS = 2 * DEPTH * EXPONENT**2
WATER = np.array([[0.0, 0.0, 0.0], [0.0, 1.43, 1.107], [0.0, -1.43, 1.107]])


def hydrogen(length):
    return Molecule.diatomic("H", "H", length, "bohr")


def water(nuclei=WATER):
    return Molecule(("O", "H", "H"), tuple(map(tuple, np.asarray(nuclei).tolist())))


def point(molecule, energy, forces, error=0.0, force_error=0.0, distance=0.0, generator=None):
    """A point with noise; forces add up to zero at every walker."""
    n_atoms = len(forces)
    noise = np.zeros((n_atoms, 3)) if generator is None else force_error * generator.standard_normal((n_atoms, 3))
    noise -= noise.mean(0)
    shift = 0.0 if generator is None else error * generator.standard_normal()
    known = np.full((n_atoms, 3), max(force_error, 1e-9) * np.sqrt((n_atoms - 1) / n_atoms))
    return SurfacePoint(molecule, energy + shift, max(error, 1e-9), forces + noise, known, distance, Path("000"))


@dataclass
class Morse:
    """Forces of a Morse potential, with noise and what they are off by; all networks are carried from its minimum."""

    force_error: float = 0.0
    error: float = 0.0
    distance: float = 0.0
    left_out: float = 0.0
    seed: int = 0
    pull: float = 0.0
    asked: list = field(default_factory=list)

    def __post_init__(self):
        self.generator = np.random.default_rng(self.seed)

    def __call__(self, molecule, energy_error=None):
        self.asked.append(molecule)
        nuclei = np.array(molecule.coordinates)
        bond = nuclei[1] - nuclei[0]
        length = np.linalg.norm(bond)
        decay = np.exp(-EXPONENT * (length - LENGTH))
        off = self.left_out - self.pull * (length - LENGTH)
        along = (-2 * DEPTH * EXPONENT * (1 - decay) * decay + off) * bond / length
        noise = {"error": self.error, "force_error": self.force_error, "distance": self.distance}
        energy, forces = DEPTH * (1 - decay) ** 2, np.stack([-along, along])
        origin = np.array(hydrogen(LENGTH).coordinates)
        return replace(point(molecule, energy, forces, **noise, generator=self.generator), origin=origin)

    @staticmethod
    def hessian(molecule):
        """That of a mean field, a sixth too stiff."""
        bond = np.subtract(molecule.coordinates[1], molecule.coordinates[0])
        block = 7 / 6 * STIFFNESS * np.outer(bond, bond) / (bond @ bond)
        return np.block([[block, -block], [-block, block]])


@dataclass
class Springs:
    """Water with springs between its atoms, which are at rest at given distances."""

    constants: tuple[float, float, float] = (0.5, 0.5, 0.15)
    nuclei: np.ndarray = field(default_factory=lambda: WATER)
    pairs: ClassVar = ((0, 1), (0, 2), (1, 2))

    def energy(self, nuclei):
        return sum(
            constant
            / 2
            * (np.linalg.norm(nuclei[i] - nuclei[j]) - np.linalg.norm(self.nuclei[i] - self.nuclei[j])) ** 2
            for constant, (i, j) in zip(self.constants, self.pairs, strict=True)
        )

    def forces(self, nuclei):
        found = np.zeros((3, 3))
        for constant, (i, j) in zip(self.constants, self.pairs, strict=True):
            bond = nuclei[i] - nuclei[j]
            stretch = np.linalg.norm(bond) - np.linalg.norm(self.nuclei[i] - self.nuclei[j])
            pull = -constant * stretch * bond / np.linalg.norm(bond)
            found[i] += pull
            found[j] -= pull
        return found

    def hessian(self):
        """At rest: k e e^T between each two atoms."""
        found = np.zeros((3, 3, 3, 3))
        for constant, (i, j) in zip(self.constants, self.pairs, strict=True):
            unit = (self.nuclei[i] - self.nuclei[j]) / np.linalg.norm(self.nuclei[i] - self.nuclei[j])
            block = constant * np.outer(unit, unit)
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                found[a, :, b] += sign * block
        return found.reshape(9, 9)

    def __call__(self, molecule, energy_error=None):
        nuclei = np.array(molecule.coordinates)
        return point(molecule, self.energy(nuclei), self.forces(nuclei))


@dataclass
class Cluster:
    """Atoms with springs between all pairs, whose lengths at rest need not be those of any geometry."""

    lengths: dict
    constant: float = 0.3
    force_error: float = 0.0
    seed: int = 0

    def __post_init__(self):
        self.generator = np.random.default_rng(self.seed)

    def energy(self, nuclei):
        stretches = [torch.linalg.vector_norm(nuclei[i] - nuclei[j]) - rest for (i, j), rest in self.lengths.items()]
        return self.constant / 2 * torch.stack(stretches).square().sum()

    def hessian(self, molecule):
        nuclei = torch.tensor(molecule.coordinates, dtype=torch.float64)
        return torch.autograd.functional.hessian(self.energy, nuclei).reshape(nuclei.numel(), nuclei.numel()).numpy()

    def __call__(self, molecule, energy_error=None):
        nuclei = torch.tensor(molecule.coordinates, dtype=torch.float64)
        forces = -torch.autograd.functional.jacobian(self.energy, nuclei).numpy()
        noise = {"error": 1e-4 * bool(self.force_error), "force_error": self.force_error, "generator": self.generator}
        return point(molecule, float(self.energy(nuclei)), forces, **noise)
