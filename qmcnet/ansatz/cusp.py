"""The electron-electron cusp as a Jastrow factor.

References:
    Kato, Commun. Pure Appl. Math. 10, 151 (1957), doi:10.1002/cpa.3160100201 (the cusp);
    von Glehn, Spencer, Pfau, ICLR 2023, arXiv:2211.13672 (the functional form).
"""

import torch
from torch import Tensor, nn

from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.system.molecule import Molecule


@JASTROWS.member("cusp")
class ElectronCusp(nn.Module):
    """Electron-electron cusp: J = -sum_{i<j} c a^2 / (a + r_ij), with dJ/dr = c at r_ij = 0.

    c = 1/4 for electrons of equal spin and 1/2 for opposite spins; a is learned for each of the two cases.
    """

    masks: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Start with both ranges at one bohr.

        Args:
            molecule: the system.
        """
        super().__init__()
        up = torch.arange(molecule.n_electrons) < molecule.n_up
        equal = (up[:, None] == up[None, :]).double()
        apart = 1 - torch.eye(molecule.n_electrons, dtype=torch.float64)
        # Each pair appears twice in the sum over i and j, hence half the cusp.
        self.register_buffer("masks", torch.stack([equal * apart / 8, (1 - equal) / 4]), persistent=False)
        self.range = nn.Parameter(torch.ones(2))

    def forward(self, d_en: Tensor, d_ee: Tensor) -> Tensor:
        """Evaluate the logarithm of the factor.

        Args:
            d_en: electron-nucleus distances, shape (B, N, A), in bohr; not used.
            d_ee: electron-electron distances, shape (B, N, N), in bohr.

        Returns:
            J, shape (B,).
        """
        terms = [a.square() * mask / (d_ee + a.abs()) for a, mask in zip(self.range, self.masks, strict=True)]
        return -(terms[0] + terms[1]).sum((-2, -1))
