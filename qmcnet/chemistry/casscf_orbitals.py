"""Leading determinants of a CASSCF wavefunction, as orbital matrices that carry the coefficients.

Letters: N electrons, n electrons of one spin, K determinants.
"""

import torch
from torch import Tensor, nn

from qmcnet.chemistry.casscf import CasscfResult
from qmcnet.chemistry.state_orbitals import StateOrbitals


class CasscfOrbitals(nn.Module):
    """Orbitals whose determinants add up to psi = sum_k c_k det_k(up) det_k(down), and the density |psi|^2.

    Each orbital of determinant k is multiplied by |c_k|^(1/N), and the first one by the sign of c_k, too, so that all
    orbitals of a determinant shrink alike and the product of both spins is c_k det_k(up) det_k(down).
    """

    factors: Tensor

    def __init__(self, result: CasscfResult, n_determinants: int) -> None:
        """Keep the determinants with the largest coefficients.

        Args:
            result: orbitals, determinants and coefficients, largest first.
            n_determinants: K of the network; the largest number of determinants is kept that gives each an equal share.
        """
        super().__init__()
        kept = max(k for k in range(1, min(n_determinants, len(result.coefficients)) + 1) if not n_determinants % k)
        occupied = [tuple(map(tuple, spin[:kept].tolist())) for spin in (result.up, result.down)]
        self.determinants = StateOrbitals(
            result.basis, result.orbitals, result.orbitals, list(zip(*occupied, strict=True))
        )
        self.coefficients = tuple(result.coefficients[:kept].tolist())
        n_electrons = result.up.shape[-1] + result.down.shape[-1]
        factors = result.coefficients[:kept, None].abs().pow(1 / n_electrons).repeat(1, n_electrons)
        factors[:, 0] *= result.coefficients[:kept].sign()
        self.register_buffer("factors", factors[:, None])  # (K, 1, N)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the orbitals of each determinant at the electrons of their spin.

        Args:
            positions: electron positions, spin-up electrons first, (..., N, 3), bohr.

        Returns:
            Matrices [electron, orbital] of the spins, (..., K, n_up, n_up) and (..., K, n_down, n_down), with units
            bohr^-3/2.
        """
        up, down = self.determinants(positions)
        n_up = up.shape[-1]
        return up * self.factors[..., :n_up], down * self.factors[..., n_up:]

    def log_prob(self, positions: Tensor) -> Tensor:
        """Evaluate the density of the kept determinants together.

        log p = 2 log|sum_k c_k det_k(up) det_k(down)|, with p not normalised.

        Args:
            positions: electron positions, spin-up electrons first, (..., N, 3), bohr.

        Returns:
            Unnormalised log-probability, (...).
        """
        up, down = map(torch.linalg.slogdet, self.forward(positions))
        sign, log_abs = up.sign * down.sign, up.logabsdet + down.logabsdet  # (..., K)
        # Far from the nuclei all determinants can vanish in the given precision: -inf, not nan.
        largest = log_abs.amax(-1, keepdim=True).clamp(min=torch.finfo(log_abs.dtype).min)
        total: Tensor = (sign * (log_abs - largest).exp()).sum(-1).abs().log() + largest.squeeze(-1)
        return 2 * total
