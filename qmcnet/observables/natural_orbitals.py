"""One-body density matrix in a Gaussian basis, and the occupations of its natural orbitals.

Letters: M points, S states, N electrons, n orthonormal orbitals.

References:
    McMillan, Phys. Rev. 138, A442 (1965), doi:10.1103/PhysRev.138.A442.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.molecule import Molecule
from qmcnet.observables.cloud import Cloud
from qmcnet.observables.observable import StateValues
from qmcnet.scf import orthonormal_basis

SPINS = ("up", "down")


class NaturalOrbitals(nn.Module):
    """The operators a_p^+ a_q of each spin, of which the expectation values are the one-body density matrix.

    (a_p^+ a_q psi)(r_1 ...) = sum_i phi_p(r_i) integral phi_q(r') psi(... r_i -> r' ...) dr', with one random r' for
    each point. The trace falls short of the number of electrons by those that are outside the basis.
    """

    name = "natural_orbitals"
    coefficients: Tensor

    def __init__(self, molecule: Molecule, basis: str = "cc-pvdz") -> None:
        """Make orthonormal orbitals phi_p.

        Args:
            molecule: nuclei, and numbers of spin-up and spin-down electrons.
            basis: name of a Gaussian basis set known to PySCF, with shells up to g.
        """
        super().__init__()
        self.n_up = molecule.n_up
        self.cloud = Cloud(molecule)
        self.basis, coefficients = orthonormal_basis(molecule, basis)
        self.register_buffer("coefficients", coefficients, persistent=False)
        orbitals = range(coefficients.shape[1])
        self.components = tuple(f"{spin} {p} {q}" for spin in SPINS for p in orbitals for q in orbitals)

    def forward(self, states: StateValues) -> Tensor:
        """Apply a_p^+ a_q.

        Args:
            states: values of the states at M points.

        Returns:
            Shape (M, 2 n^2, S).
        """
        positions = states.positions
        new = self.cloud.draw(len(positions), states.generator).to(positions.dtype)  # (M, 3)
        old = self.orbitals(positions)  # (M, N, n)
        sums = [old.new_zeros((len(old), old.shape[-1], states.values.shape[-1])) for _ in SPINS]  # (M, n, S)
        for electron in range(positions.shape[1]):
            moved = positions.clone()
            moved[:, electron] = new
            spin = int(electron >= self.n_up)
            sums[spin] = sums[spin] + old[:, electron, :, None] * states.at(moved)[:, None]
        weighted = self.orbitals(new) / self.cloud.density(new.double())[:, None]  # (M, n)
        matrices = torch.stack(sums, 1)[:, :, :, None] * weighted[:, None, None, :, None]  # (M, 2, n, n, S)
        return matrices.flatten(1, 3)

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the figures that `report` makes."""
        return tuple(f"{spin} {i}" for spin in (*SPINS, "both") for i in range(self.coefficients.shape[1]))

    @staticmethod
    def report(mean: NDArray[Any]) -> NDArray[np.float64]:
        """Turn expectation values into what is reported: occupations.

        Args:
            mean: expectation values of the components, shape (2 n^2,).

        Returns:
            Natural occupations, shape (3 n,).
        """
        return natural_occupations(mean).flatten()

    def orbitals(self, points: Tensor) -> Tensor:
        """Evaluate the orthonormal orbitals.

        Args:
            points: positions, shape (..., 3), in bohr.

        Returns:
            Shape (..., n), float64, in bohr^-3/2.
        """
        return self.basis(points.double()) @ self.coefficients


def natural_occupations(mean: NDArray[Any]) -> NDArray[np.float64]:
    """Diagonalise an averaged one-body density matrix.

    Args:
        mean: components of `NaturalOrbitals` of one state, shape (2 n^2,).

    Returns:
        Occupations in descending order, shape (3, n): between 0 and 1 of the spin-up and of the spin-down natural
        orbitals, and between 0 and 2 of those of both spins together, but for noise.
    """
    n = round((len(mean) / len(SPINS)) ** 0.5)
    up, down = mean.reshape(len(SPINS), n, n)
    matrices = np.stack([up, down, up + down])
    hermitian = (matrices + matrices.conj().swapaxes(-1, -2)) / 2
    return np.flip(np.linalg.eigvalsh(hermitian), -1).copy()
