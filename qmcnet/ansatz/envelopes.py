"""Exponential envelopes that make orbitals decay far from the nuclei.

Letters: B walkers, n electrons of one spin, A nuclei, M orbitals (all determinants together).
"""

import torch
from torch import Tensor, nn

from qmcnet.molecule import Molecule


class IsotropicEnvelope(nn.Module):
    """Sum of spherical exponentials: sum_A pi_Am exp(-sigma_Am |r - R_A|)."""

    def __init__(self, molecule: Molecule, n_orbitals: int) -> None:
        """Start with every weight and exponent at one.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M.
        """
        super().__init__()
        n_nuclei = len(molecule.symbols)
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

    def __init__(self, molecule: Molecule, n_orbitals: int) -> None:
        """Start with every weight and exponent at one.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M.
        """
        super().__init__()
        n_nuclei = len(molecule.symbols)
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


class FullEnvelope(nn.Module):
    """Sum of anisotropic exponentials: sum_A pi_Am exp(-|S_Am (r - R_A)|) with a matrix S_Am (3, 3)."""

    def __init__(self, molecule: Molecule, n_orbitals: int) -> None:
        """Start with every weight at one and every matrix at the identity.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M.
        """
        super().__init__()
        n_nuclei = len(molecule.symbols)
        self.weight = nn.Parameter(torch.ones(n_nuclei, n_orbitals))
        self.matrix = nn.Parameter(torch.eye(3)[:, :, None].repeat(n_nuclei, 1, 1, n_orbitals))  # (A, 3, 3, M)

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            Envelopes, shape (B, n, M).
        """
        scaled = (r_en[..., None, :, None] * self.matrix).sum(-2)  # (B, n, A, 3, M)
        return (torch.exp(-torch.linalg.vector_norm(scaled, dim=-2)) * self.weight).sum(-2)


class BottleneckEnvelope(nn.Module):
    """Mixtures of few isotropic envelopes: sum_k w_km sum_A pi_Ak exp(-sigma_Ak |r - R_A|).

    With an envelope of its own for each orbital there are as many exponentials as orbitals; here there are `size`.
    """

    def __init__(self, molecule: Molecule, n_orbitals: int, size: int = 32) -> None:
        """Start with exponents spread about one and equal mixtures.

        Args:
            molecule: the system, with A nuclei.
            n_orbitals: number of orbitals M.
            size: shared envelopes.
        """
        super().__init__()
        self.shared = IsotropicEnvelope(molecule, size)
        self.mixture = nn.Parameter(torch.full((size, n_orbitals), 1 / size))
        with torch.no_grad():
            # Equal exponents would stay equal: their gradients would be the same.
            self.shared.exponent.copy_(torch.linspace(0.5, 2, size).expand_as(self.shared.exponent))

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of each orbital.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr.

        Returns:
            Envelopes, shape (B, n, M).
        """
        mixed: Tensor = self.shared(r_en, d_en) @ self.mixture
        return mixed


class NullEnvelope(nn.Module):
    """One everywhere, for electrons that something else keeps together."""

    def __init__(self, molecule: Molecule, n_orbitals: int) -> None:
        """Create nothing.

        Args:
            molecule: not used.
            n_orbitals: not used.
        """
        super().__init__()

    def forward(self, r_en: Tensor, d_en: Tensor) -> Tensor:
        """Evaluate the envelope of all orbitals.

        Args:
            r_en: electron-nucleus vectors, shape (B, n, A, 3), in bohr; not used.
            d_en: electron-nucleus distances, shape (B, n, A), in bohr; not used.

        Returns:
            One.
        """
        return torch.ones((), dtype=r_en.dtype, device=r_en.device)


ENVELOPES = {
    "isotropic": IsotropicEnvelope,
    "diagonal": DiagonalEnvelope,
    "full": FullEnvelope,
    "bottleneck": BottleneckEnvelope,
    "null": NullEnvelope,
}
