"""Slater determinants of mean-field orbitals for several states.

PySCF is imported on first use, as its import is slow.

Letters: S states, N electrons, n electrons of one spin, M orbitals that some state occupies.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qmcnet.chemistry.excitations import (
    Determinant,
    leading_determinants,
    occupied_orbitals,
    ordered_excitations,
    random_excitations,
)
from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.chemistry.scf import HartreeFockResult

EXCITATIONS = ("ordered", "random", "cis")

_EXTRA_ROOTS = 4  # roots that may lead with a determinant that another one has taken


class StateOrbitals(nn.Module):
    """Orbitals of one Slater determinant for each state, and the density of independent copies in these states."""

    up: Tensor
    down: Tensor
    columns_up: Tensor
    columns_down: Tensor

    def __init__(self, basis: GaussianBasis, up: Tensor, down: Tensor, determinants: Sequence[Determinant]) -> None:
        """Keep the orbitals that some state occupies.

        Args:
            basis: Gaussian basis set.
            up: coefficients of all spin-up orbitals, (n_ao, n_orbitals).
            down: coefficients of all spin-down orbitals, (n_ao, n_orbitals).
            determinants: orbitals occupied in each of the S states, with as many electrons of each spin in all.
        """
        super().__init__()
        self.basis, self.determinants = basis, tuple(determinants)
        for spin, name, coefficients in ((0, "up", up), (1, "down", down)):
            occupied = torch.tensor([determinant[spin] for determinant in determinants], dtype=torch.long)
            orbitals, columns = occupied.unique(return_inverse=True)
            self.register_buffer(name, coefficients.T[orbitals].T)  # (n_ao, M), each orbital whole in memory
            self.register_buffer(f"columns_{name}", columns)  # (S, n)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the orbitals of each state at the electrons of their spin.

        Args:
            positions: electron positions, spin-up electrons first, (..., N, 3), bohr.

        Returns:
            Matrices [electron, orbital] of the spins, (..., S, n_up, n_up) and (..., S, n_down, n_down), bohr^-3/2.
        """
        n_up = self.columns_up.shape[-1]
        up = self.basis(positions[..., :n_up, :]) @ self.up  # (..., n_up, M)
        down = self.basis(positions[..., n_up:, :]) @ self.down
        return up[..., self.columns_up].movedim(-2, -3), down[..., self.columns_down].movedim(-2, -3)

    def log_prob(self, positions: Tensor) -> Tensor:
        """Evaluate the density of S independent copies, of which copy i is in state i.

        log p = sum_i 2 log|det_i(x^i)|, with p not normalised.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, (..., S N, 3), bohr.

        Returns:
            Unnormalised log-probability, (...).
        """
        matrices = self.forward(positions.unflatten(-2, (len(self.determinants), -1)))  # (..., S, S, n, n) each
        own = [matrix.diagonal(dim1=-4, dim2=-3).movedim(-1, -3) for matrix in matrices]
        log_abs: Tensor = torch.linalg.slogdet(own[0]).logabsdet + torch.linalg.slogdet(own[1]).logabsdet
        return 2 * log_abs.sum(-1)


def excited_determinants(mean_field: HartreeFockResult, n_states: int, kind: str, seed: int) -> StateOrbitals:
    """Choose a Slater determinant for each state; the first is that of the mean field, and no two are equal.

    Args:
        mean_field: its orbitals, occupied and virtual.
        n_states: number of states S.
        kind: 'ordered' (lowest sums of orbital energies), 'random' (drawn from the lowest single and double
            excitations) or 'cis' (leading determinants of configuration interaction with single excitations).
        seed: of the random excitations.

    Returns:
        The orbitals of all states, float64 on the CPU.

    Raises:
        ValueError: `kind` is unknown, or the basis has too few orbitals for the states.
    """
    if kind not in EXCITATIONS:
        raise ValueError(f"excitations={kind!r} must be one of {EXCITATIONS}")
    solution = mean_field.solution.to_uhf()
    ground = occupied_orbitals(solution.mo_occ)
    if kind == "cis":
        excited = leading_determinants(_cis_roots(solution, n_states - 1 + _EXTRA_ROOTS), ground, n_states - 1)
    elif kind == "random":
        excited = random_excitations(solution.mo_energy, ground, n_states - 1, seed)
    else:
        excited = ordered_excitations(solution.mo_energy, ground, n_states - 1)
    if len(excited) < n_states - 1:
        raise ValueError(
            f"basis={mean_field.basis!r} gives {1 + len(excited)} determinants of excitations={kind!r} for "
            f"states={n_states}: choose a larger basis or fewer states"
        )
    up, down = (torch.tensor(coefficients) for coefficients in solution.mo_coeff)
    return StateOrbitals(mean_field.orbitals.basis, up, down, [ground, *excited])


def _cis_roots(solution: Any, n: int) -> list[tuple[Tensor, Tensor]]:
    """Amplitudes of the lowest roots, of both spins together: singlets and triplets alike of a closed shell."""
    # The whole matrix is diagonalised: PySCF's iterations miss roots, and all that lie below the mean field.
    from pyscf import lib, tdscf

    with lib.with_omp_threads(1):
        up, mixed, down = map(torch.tensor, tdscf.uhf.get_ab(solution)[0])  # (n, n_virtual, n, n_virtual) each
    n_up, n_down = up.shape[:2].numel(), down.shape[:2].numel()
    mixed = mixed.reshape(n_up, n_down)
    matrix = torch.cat(
        [
            torch.cat([up.reshape(n_up, n_up), mixed], 1),
            torch.cat([mixed.T, down.reshape(n_down, n_down)], 1),
        ]
    )
    roots = torch.linalg.eigh(matrix).eigenvectors.T[:n]
    return [(root[:n_up].view(up.shape[:2]), root[n_up:].view(down.shape[:2])) for root in roots]
