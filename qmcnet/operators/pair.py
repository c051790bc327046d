"""Distances between electrons of equal and of opposite spin.

Letters: M points, S states, N electrons.
"""

import torch
from torch import Tensor, nn

from qmcnet.operators.bins import Bins
from qmcnet.operators.coulomb import pairs
from qmcnet.operators.operator import States, observable
from qmcnet.system.molecule import Molecule


@observable
class Pair(nn.Module):
    """Pairs of electrons per length at a distance u from one another, those of equal and of opposite spin apart.

    The integral over all distances is the number of pairs. A component is named after its spins and the middle of
    its bin.
    """

    name = "pair"

    def __init__(self, molecule: Molecule, n_bins: int = 100, largest: float = 10.0) -> None:
        """Lay out the bins.

        Args:
            molecule: numbers of spin-up and spin-down electrons.
            n_bins: bins of each kind of pair.
            largest: largest distance counted, in bohr.
        """
        super().__init__()
        self.bins, self.n_up = Bins(n_bins, largest), molecule.n_up
        self.components = tuple(f"{kind} {u:.4g}" for kind in ("equal", "opposite") for u in self.bins.centers)

    def forward(self, states: States) -> Tensor:
        """Multiply by the numbers of pairs in the bins.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 2 n_bins, S), in 1/bohr.
        """
        positions = states.positions
        i, j = pairs(positions[0])
        distances = torch.linalg.vector_norm(positions[:, i] - positions[:, j], dim=-1)  # (M, N (N - 1) / 2)
        equal = (i < self.n_up) == (j < self.n_up)
        kinds = (distances.masked_fill(~chosen, torch.inf) for chosen in (equal, ~equal))
        return states.times(torch.cat([self.bins.density(kind) for kind in kinds], -1))
