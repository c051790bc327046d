"""Radial density of the electrons about each nucleus.

Letters: M points, S states, N electrons, A nuclei.
"""

import torch
from torch import Tensor, nn

from qmcnet.operators.bins import Bins
from qmcnet.operators.operator import States, observable
from qmcnet.system.molecule import Molecule


@observable
class Radial(nn.Module):
    """Electrons per length at a distance r from each nucleus, D(r) = r^2 integral rho dOmega.

    The integral of D over all distances is the number of electrons, for every nucleus. A component is named after
    its nucleus and the middle of its bin.
    """

    name = "radial"

    def __init__(self, molecule: Molecule, n_bins: int = 100, largest: float = 10.0) -> None:
        """Lay out the bins.

        Args:
            molecule: the nuclei.
            n_bins: bins of each nucleus.
            largest: largest distance counted, in bohr.
        """
        super().__init__()
        self.bins = Bins(n_bins, largest)
        atoms = [f"{symbol}{index}" for index, symbol in enumerate(molecule.symbols, start=1)]
        self.components = tuple(f"{atom} {r:.4g}" for atom in atoms for r in self.bins.centers)

    def forward(self, states: States) -> Tensor:
        """Multiply by the numbers of electrons in the bins.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, A n_bins, S), in 1/bohr.
        """
        displacements = states.positions[:, None] - states.nuclei[:, None]  # (M, A, N, 3)
        distances = torch.linalg.vector_norm(displacements, dim=-1)
        return states.times(self.bins.density(distances).flatten(-2))
