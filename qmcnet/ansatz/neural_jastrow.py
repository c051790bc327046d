"""A Jastrow factor of pairs of electrons and the nuclei around them.

Letters: B walkers, N electrons, A nuclei, F features.
"""

import torch
from torch import Tensor, nn

from qmcnet.ansatz.cusp import ElectronCusp
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.compute.kernels import Linear, tanh
from qmcnet.system.molecule import Molecule

WIDTH = 16
LENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Distances that the features tell apart, in bohr."""


@JASTROWS.member("neural")
class NeuralJastrow(nn.Module):
    """J = J_cusp + sum_{i<j} sum_f w_f a_f(r_i) b_f(r_ij) a_f(r_j).

    a_f sees the distances of an electron to all nuclei; b_f sees the distance of two electrons and whether their spins
    are equal. Both are smooth and even in each distance, so that no cusp changes, and tend to constants far away.
    Factors that depend on one electron or one pair alone have sparse derivatives.
    """

    equal: Tensor
    halves: Tensor
    rates: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Create the cusp and the layers of one electron and of one pair.

        Args:
            molecule: the system.
        """
        super().__init__()
        up = torch.arange(molecule.n_electrons) < molecule.n_up
        # Each pair appears twice in the sum over i and j, hence the halves.
        halves = (1 - torch.eye(molecule.n_electrons, dtype=torch.float64)) / 2
        self.register_buffer("equal", (up[:, None] == up[None, :]).double()[..., None], persistent=False)
        self.register_buffer("halves", halves[..., None], persistent=False)
        self.register_buffer("rates", torch.tensor(LENGTHS, dtype=torch.float64) ** -2, persistent=False)
        self.cusp = ElectronCusp(molecule)
        self.electron = Linear(len(LENGTHS) * len(molecule.symbols), WIDTH)
        self.pair = Linear(len(LENGTHS) + 1, WIDTH)
        self.pair_sum = PairSum()

    def forward(self, d_en: Tensor, d_ee: Tensor) -> Tensor:
        """Evaluate the logarithm of the factor.

        Args:
            d_en: electron-nucleus distances, shape (B, N, A), in bohr.
            d_ee: electron-electron distances, shape (B, N, N), in bohr.

        Returns:
            J, shape (B,).
        """
        electrons = tanh(self.electron(closeness(d_en, self.rates).flatten(-2)))  # (B, N, F)
        pairs = torch.cat([closeness(d_ee, self.rates), self.equal.expand(*d_ee.shape, 1)], -1)  # (B, N, N, 5)
        pairs = tanh(self.pair(pairs)) * self.halves  # (B, N, N, F)
        total: Tensor = self.cusp(d_en, d_ee) + self.pair_sum(electrons, pairs)
        return total


class PairSum(nn.Module):
    """Sum over pairs of products of features, weighted by a number for each feature."""

    def __init__(self) -> None:
        """Start near zero: at zero, only the weights would have a gradient."""
        super().__init__()
        self.weight = nn.Parameter(torch.full((WIDTH,), 1e-3))

    def forward(self, electrons: Tensor, pairs: Tensor) -> Tensor:
        """Evaluate sum_ij sum_f w_f a_if b_ijf a_jf.

        Args:
            electrons: features a of electrons, shape (B, N, F).
            pairs: features b of pairs, shape (B, N, N, F).

        Returns:
            The sum, shape (B,).
        """
        if isinstance(pairs, Tensor):  # an einsum brings features to the front, which takes longer than the products
            around = (pairs * electrons.unsqueeze(-3)).sum(-2)
            return ((electrons * around).sum(-2) * self.weight).sum(-1)
        around = torch.einsum("...ijf,...jf->...if", pairs, electrons)
        return torch.einsum("...if,f,...if->...", electrons, self.weight, around)


def closeness(distances: Tensor, rates: Tensor) -> Tensor:
    """Evaluate 1 / (1 + g d^2), one when together and zero far apart.

    Args:
        distances: d, shape (...), in bohr.
        rates: g, shape (L,), in 1/bohr^2.

    Returns:
        Shape (..., L).
    """
    return (distances.square()[..., None] * rates + 1).reciprocal()
