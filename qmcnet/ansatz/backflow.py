"""Backflow: electrons that see the orbitals from positions shifted by the other electrons and the nuclei.

The range functions are sums of Gaussians where the reference has polynomials with a cutoff. Even in the distance,
they leave the cusps of the Jastrow factor as they are. As in the reference, shifts vanish at the nuclei: there the
Coulomb attraction cancels against the kinetic energy of orbitals at the position itself.

References:
    Lopez Rios, Ma, Drummond, Towler, Needs, Phys. Rev. E 74, 066701 (2006), doi:10.1103/PhysRevE.74.066701.

Letters: B walkers, N electrons, A nuclei, W widths.
"""

import torch
from torch import Tensor, nn

from qmcnet.system.molecule import Molecule

WIDTHS = (0.5, 1.0, 2.0, 4.0)
"""Widths of the Gaussians in bohr, from a core to a bond."""


class Backflow(nn.Module):
    """Shift of electron i: (sum_j eta(r_ij) (r_i - r_j) + sum_A mu_A(r_iA) (r_i - R_A)) prod_A g_A(r_iA).

    eta(r) = sum_w c_w exp(-r^2 / 2 w^2) for electrons of equal and of opposite spin, mu_A alike, and
    g_A(r) = 1 - exp(-Z_A^2 r^2 / 2).
    """

    rates: Tensor
    core_rates: Tensor
    spins: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Start without a shift.

        Args:
            molecule: the system.
        """
        super().__init__()
        up = torch.arange(molecule.n_electrons) < molecule.n_up
        equal = up[:, None] == up
        self.register_buffer("spins", torch.stack([equal, ~equal], -1).double(), persistent=False)  # (N, N, 2)
        self.register_buffer("rates", -0.5 / torch.tensor(WIDTHS, dtype=torch.float64).square(), persistent=False)
        self.has_cusp = (molecule.point_charges > 0).tolist()
        self.register_buffer("core_rates", -0.5 * molecule.point_charges.square(), persistent=False)
        self.electrons = nn.Parameter(torch.zeros(2, len(WIDTHS)))
        self.nuclei = nn.Parameter(torch.zeros(len(molecule.symbols), len(WIDTHS)))

    def forward(self, r_en: Tensor, d_en: Tensor, r_ee: Tensor, d_ee: Tensor) -> Tensor:
        """Evaluate the shifts.

        Args:
            r_en: electron minus nucleus, shape (B, N, A, 3), in bohr.
            d_en: electron-nucleus distances, shape (B, N, A), in bohr.
            r_ee: electron i minus electron j, shape (B, N, N, 3), in bohr.
            d_ee: electron-electron distances, shape (B, N, N), in bohr.

        Returns:
            Shape (B, N, 3), in bohr.
        """
        eta = (self._gaussians(d_ee) * (self.spins @ self.electrons)).sum(-1)  # (B, N, N)
        mu = (self._gaussians(d_en) * self.nuclei).sum(-1)  # (B, N, A)
        shift = (eta[..., None] * r_ee).sum(-2) + (mu[..., None] * r_en).sum(-2)
        for nucleus, outside in enumerate((1 - torch.exp(d_en.square() * self.core_rates)).unbind(-1)):  # (B, N)
            if self.has_cusp[nucleus]:
                shift = shift * outside[..., None]
        return shift

    def _gaussians(self, distances: Tensor) -> Tensor:
        return torch.exp(distances.square()[..., None] * self.rates)
