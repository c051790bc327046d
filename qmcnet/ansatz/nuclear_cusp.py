"""Electron-nucleus cusps for orbitals that have none, as combinations of Gaussian functions.

Letters: B walkers, N electrons, A nuclei.

References:
    Kato, Commun. Pure Appl. Math. 10, 151 (1957), doi:10.1002/cpa.3160100201.
"""

import torch
from torch import Tensor, nn

from qmcnet.chemistry.gto import GaussianBasis
from qmcnet.system.molecule import Molecule

SHARE_OF_WIDTH = 0.5
"""Range over the standard deviation of the tightest Gaussian: local energies of 1s orbitals vary least near it."""


class NuclearCusp(nn.Module):
    """J = sum_iA Z_A a_A exp(-r_iA / a_A), with dJ/dr = -Z_A at r_iA = 0; the ranges a_A are learned."""

    charges: Tensor

    def __init__(self, molecule: Molecule, basis: GaussianBasis) -> None:
        """Start within the tightest Gaussian function of each nucleus, beyond which the basis describes the cusp.

        Args:
            molecule: the system.
            basis: Gaussian basis set, centred at the nuclei.
        """
        super().__init__()
        self.register_buffer("charges", molecule.point_charges, persistent=False)
        tightest = [basis.exponents[basis.center_of_primitive == a].max() for a in range(len(self.charges))]
        self.log_range = nn.Parameter(torch.log(SHARE_OF_WIDTH * (2 * torch.stack(tightest)).rsqrt()))

    def forward(self, d_en: Tensor) -> Tensor:
        """Evaluate the logarithm of the factor.

        Args:
            d_en: electron-nucleus distances, shape (B, N, A), in bohr.

        Returns:
            J, shape (B,).
        """
        lengths = torch.exp(self.log_range)
        return (torch.exp(d_en * (-1 / lengths)) * (lengths * self.charges)).sum((-2, -1))
