"""Exponential envelopes that make orbitals decay far from the nuclei.

Letters: B walkers, n electrons of one spin, A nuclei, M orbitals (all determinants together).
"""

import torch
from torch import Tensor, nn


class IsotropicEnvelope(nn.Module):
    """Sum of spherical exponentials: sum_A pi_Am exp(-sigma_Am |r - R_A|)."""

    def __init__(self, n_nuclei: int, n_orbitals: int) -> None:
        """Start with every weight and exponent at one.

        Args:
            n_nuclei: number of nuclei A.
            n_orbitals: number of orbitals M.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_nuclei, n_orbitals))
        self.exponent = nn.Parameter(torch.ones(n_nuclei, n_orbitals))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr.

        Returns:
            Envelopes, shape (B, n, M).
        """
        return (torch.exp(d_en[..., None] * -self.exponent) * self.weight).sum(-2)  # (B, n, M)


class DiagonalEnvelope(nn.Module):
    """Sum of exponentials with one exponent an axis: sum_A pi_Am exp(-|sigma_Am * (r - R_A)|)."""

    def __init__(self, n_nuclei: int, n_orbitals: int) -> None:
        """Start with every weight and exponent at one.

        Args:
            n_nuclei: number of nuclei A.
            n_orbitals: number of orbitals M.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_nuclei, n_orbitals))
        self.exponent = nn.Parameter(torch.ones(n_nuclei, 3, n_orbitals))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            Envelopes, shape (B, n, M).
        """
        scaled = torch.linalg.vector_norm(r_en[..., None] * self.exponent, dim=-2)  # (B, n, A, M)
        return (torch.exp(-scaled) * self.weight).sum(-2)


ENVELOPES = {"isotropic": IsotropicEnvelope, "diagonal": DiagonalEnvelope}
