"""Slater determinants of molecular orbitals: S states, each a sum of K determinants.

Letters: S states, K determinants of a state, N electrons, n electrons of one spin, M orbitals that are occupied.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qmcnet.chemistry.excitations import Determinant
from qmcnet.chemistry.gto import GaussianBasis


class Determinants(nn.Module):
    """psi_s = sum_k c_sk det_sk(up) det_sk(down), as orbital matrices that carry the coefficients.

    Each orbital of a determinant is multiplied by |c|^(1/N), and the first one by the sign of c, too, so that all
    orbitals of a determinant shrink alike and the product of both spins is c det(up) det(down).
    """

    up: Tensor
    down: Tensor
    columns_up: Tensor
    columns_down: Tensor
    factors: Tensor

    def __init__(
        self,
        basis: GaussianBasis,
        up: Tensor,
        down: Tensor,
        determinants: Sequence[Sequence[Determinant]],
        coefficients: Tensor | None = None,
    ) -> None:
        """Keep the orbitals that some determinant occupies.

        Args:
            basis: Gaussian basis set.
            up: coefficients of all spin-up orbitals, (n_ao, n_orbitals).
            down: coefficients of all spin-down orbitals, (n_ao, n_orbitals).
            determinants: orbitals occupied in the K determinants of each of the S states.
            coefficients: c_sk, (S, K); one everywhere by default.
        """
        super().__init__()
        self.basis, self.determinants = basis, tuple(tuple(state) for state in determinants)
        self.n_states, flat = len(self.determinants), [one for state in self.determinants for one in state]
        for spin, name, orbitals in ((0, "up", up), (1, "down", down)):
            occupied = torch.tensor([determinant[spin] for determinant in flat], dtype=torch.long)
            used, columns = occupied.unique(return_inverse=True)
            self.register_buffer(name, orbitals.T[used].T)  # (n_ao, M), each orbital whole in memory
            self.register_buffer(f"columns_{name}", columns)  # (S K, n)
        self.coefficients = torch.ones(len(flat)) if coefficients is None else coefficients.flatten()
        n_electrons = sum(map(len, flat[0]))
        factors = self.coefficients[:, None].abs().pow(1 / n_electrons).repeat(1, n_electrons)
        factors[:, 0] *= self.coefficients.sign()
        self.register_buffer("factors", factors[:, None].to(up.dtype))  # (S K, 1, N)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the orbitals of each determinant at the electrons of their spin.

        Args:
            positions: electron positions, spin-up electrons first, (..., N, 3), bohr.

        Returns:
            Matrices [electron, orbital] of the spins, (..., S K, n_up, n_up) and (..., S K, n_down, n_down), with units
            bohr^-3/2.
        """
        n_up = self.columns_up.shape[-1]
        up = self.basis(positions[..., :n_up, :]) @ self.up  # (..., n_up, M)
        down = self.basis(positions[..., n_up:, :]) @ self.down
        matrices = up[..., self.columns_up].movedim(-2, -3), down[..., self.columns_down].movedim(-2, -3)
        return matrices[0] * self.factors[..., :n_up], matrices[1] * self.factors[..., n_up:]

    def log_prob(self, positions: Tensor) -> Tensor:
        """Evaluate the density of S independent copies, of which copy s is in state s.

        log p = sum_s 2 log|psi_s(x^s)|, with p not normalised.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, (..., S N, 3), bohr.

        Returns:
            Unnormalised log-probability, (...).
        """
        copies = positions.unflatten(-2, (self.n_states, -1))  # (..., S, N, 3)
        spins = [matrix.unflatten(-3, (self.n_states, -1)) for matrix in self.forward(copies)]  # (..., S, S, K, n, n)
        own = [torch.linalg.slogdet(spin.diagonal(dim1=-5, dim2=-4).movedim(-1, -4)) for spin in spins]
        sign, log_abs = own[0].sign * own[1].sign, own[0].logabsdet + own[1].logabsdet  # (..., S, K)
        # Far from the nuclei all determinants can vanish in the given precision: -inf, not nan.
        largest = log_abs.amax(-1, keepdim=True).clamp(min=torch.finfo(log_abs.dtype).min)
        total: Tensor = (sign * (log_abs - largest).exp()).sum(-1).abs().log() + largest.squeeze(-1)
        return 2 * total.sum(-1)
