"""One-body density matrix in a Gaussian basis, and the occupations of its natural orbitals.

Letters: M points, S states, N electrons, n orthonormal orbitals, G groups of walkers.

References:
    McMillan, Phys. Rev. 138, A442 (1965), doi:10.1103/PhysRev.138.A442.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.chemistry.scf import orthonormal_basis
from qmcnet.operators.cloud import Cloud
from qmcnet.operators.operator import States, observable
from qmcnet.system.molecule import Molecule

SPINS = ("up", "down")
N_HALVINGS = 3
RESOLVED = 6.0  # standard errors between occupations that noise does not mix at will


@observable
class NaturalOrbitals(nn.Module):
    """The operators a_p^+ a_q of each spin, of which the expectation values are the one-body density matrix.

    (a_p^+ a_q psi)(r_1 ...) = sum_i phi_p(r_i) integral phi_q(r') psi(... r_i -> r' ...) dr', with one random r' for
    each point. The trace falls short of the number of electrons by those that are outside the basis.
    """

    name = "natural_orbitals"
    coefficients: Tensor

    def __init__(self, molecule: Molecule, basis: str | None = None) -> None:
        """Make orthonormal orbitals phi_p.

        Args:
            molecule: nuclei, and numbers of spin-up and spin-down electrons.
            basis: name of a Gaussian basis set known to PySCF, with shells up to g; None takes cc-pVDZ, or those that
                were made for core potentials.
        """
        super().__init__()
        basis = basis or ("matched" if molecule.ecp else "cc-pvdz")
        self.n_up = molecule.n_up
        self.cloud = Cloud(molecule)
        self.basis, coefficients = orthonormal_basis(molecule, basis)
        self.register_buffer("coefficients", coefficients, persistent=False)
        orbitals = range(coefficients.shape[1])
        self.components = tuple(f"{spin} {p} {q}" for spin in SPINS for p in orbitals for q in orbitals)

    def forward(self, states: States) -> Tensor:
        """Apply a_p^+ a_q.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 2 n^2, S).
        """
        positions = states.positions
        new = states.drawn(self.cloud.draw)  # (M, 3)
        old = self.orbitals(positions)  # (M, N, n)
        sums = [old.new_zeros((len(old), old.shape[-1], states.psi.shape[-1])) for _ in SPINS]  # (M, n, S)
        for electron in range(positions.shape[1]):
            moved = positions.clone()
            moved[:, electron] = new
            spin = int(electron >= self.n_up)
            sums[spin] = sums[spin] + old[:, electron, :, None] * states.at(moved)[:, None]
        weighted = self.orbitals(new) / self.cloud.density(new)[:, None]  # (M, n)
        matrices = torch.stack(sums, 1)[:, :, :, None] * weighted[:, None, None, :, None]  # (M, 2, n, n, S)
        return matrices.flatten(1, 3)

    @property
    def reported(self) -> tuple[str, ...]:
        """Names of the figures that `report` makes."""
        return tuple(f"{spin} {i}" for spin in (*SPINS, "both") for i in range(self.coefficients.shape[1]))

    @staticmethod
    def report(groups: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn expectation values into what is reported: occupations.

        Args:
            groups: averages of the components over independent groups of walkers, shape (G, 2 n^2).

        Returns:
            Natural occupations and their standard errors, each (3 n,).
        """
        occupations, errors = natural_occupations(groups)
        return occupations.flatten(), errors.flatten()

    def orbitals(self, points: Tensor) -> Tensor:
        """Evaluate the orthonormal orbitals.

        Args:
            points: positions, shape (..., 3), in bohr.

        Returns:
            Shape (..., n), float64, in bohr^-3/2.
        """
        return self.basis(points) @ self.coefficients


def natural_occupations(groups: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Diagonalise an averaged one-body density matrix without the bias of its noise.

    Args:
        groups: components of `NaturalOrbitals` of one state, averaged over independent groups, shape (G, 2 n^2).

    Returns:
        Occupations, shape (3, n), which but for noise descend and are between 0 and 1 of the spin-up and of the
        spin-down natural orbitals, and between 0 and 2 of those of both spins together. Their standard errors, (3, n);
        NaN of fewer than three groups.
    """
    n = round((groups.shape[1] / len(SPINS)) ** 0.5)
    up, down = groups.reshape(len(groups), len(SPINS), n, n).swapaxes(0, 1)
    matrices = np.stack([up, down, up + down])  # (3, G, n, n)
    hermitian = (matrices + matrices.conj().swapaxes(-1, -2)) / 2
    found = [_cross_fitted(of_kind) for of_kind in hermitian]
    return np.stack([occupations for occupations, _ in found]), np.stack([errors for _, errors in found])


def _cross_fitted(matrices: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take orbitals from one half of the groups and their occupations from the other.

    The eigenvalues of a noisy matrix repel one another, by as much as the noise where occupations are equal: the
    largest are too large. Orbitals of other groups do not know the noise of those they are measured in. Both ways
    are averaged, so that every group counts in full. Among equal occupations the two ways are correlated, which
    makes the error of one halving 20 % too small; the average over three halvings makes up for it. Normal noise,
    scatter over error: 1.0 to 1.1 where occupations are apart and at the ends of a level of equal ones, 0.7 to 0.9
    in its midst.

    Args:
        matrices: Hermitian, shape (G, n, n).

    Returns:
        Occupations and standard errors, each (n,).
    """
    n_groups, n, _ = matrices.shape
    if n_groups == 1:
        return np.flip(np.linalg.eigvalsh(matrices[0])).copy(), np.full(n, np.nan)
    occupations, variances = [], []
    for mask in range(1, min(N_HALVINGS + 1, n_groups)):
        half = np.array([(group & mask).bit_count() % 2 == 1 for group in range(n_groups)])
        measured, deviations = np.empty((2, n_groups, n))
        for measure in (half, ~half):
            orbitals = _orbitals(matrices[~measure].mean(0))
            measured[measure] = (orbitals.conj() * (matrices[measure] @ orbitals)).sum(1).real
            deviations[measure] = measured[measure] - measured[measure].mean(0)
        occupations.append(measured.mean(0))
        variances.append((deviations**2).sum(0))
    values: NDArray[np.float64] = np.mean(occupations, 0)
    errors = np.sqrt(np.mean(variances, 0) / n_groups / (n_groups - 2)) if n_groups > 2 else np.full(n, np.nan)
    return values + _lost_by_tilt(matrices, values), errors


def _lost_by_tilt(matrices: NDArray[Any], occupations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Second order of the noise: orbitals of half the groups are tilted by it, which mixes occupations.

    With the noise V_ij of all groups, and so 2 V_ij of half of them, orbital i gets the share 2 V_ij / (n_i - n_j)^2 of
    every other. Occupations closer than six times the noise are left out: there noise mixes at will, but what is mixed
    is nearly equal.

    Args:
        matrices: Hermitian, shape (G, n, n).
        occupations: cross-fitted, (n,).

    Returns:
        What the mixing took from each occupation, (n,).
    """
    orbitals = _orbitals(matrices.mean(0))
    noise = (orbitals.conj().T @ matrices @ orbitals).var(0, ddof=1) / len(matrices)  # (n, n)
    gaps = occupations[:, None] - occupations
    apart = gaps**2 > RESOLVED**2 * noise
    np.fill_diagonal(apart, False)
    lost: NDArray[np.float64] = 2 * np.where(apart, noise / np.where(apart, gaps, 1.0), 0.0).sum(1)
    return lost


def _orbitals(matrix: NDArray[Any]) -> NDArray[Any]:
    """Eigenvectors as columns, by descending occupation."""
    return np.linalg.eigh(matrix)[1][:, ::-1]
