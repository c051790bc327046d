"""How much each nucleus takes an electron along when it moves: the weights of the space warp.

An electron close to a nucleus moves with it, one between several with their mean.

References:
    Umrigar, Int. J. Quantum Chem. 36 (S23), 217 (1989), doi:10.1002/qua.560360826;
    Filippi, Umrigar, Phys. Rev. B 61, R16291 (2000), doi:10.1103/PhysRevB.61.R16291 (the fourth power).

Dimension letters: B walkers, N electrons, A nuclei.
"""

import torch
from torch import Tensor

POWER = 4
CLOSEST = 1e-9
"""Distance in bohr below which an electron stands on a nucleus, where the weight would not be finite."""


def warp_weights(positions: Tensor, nuclei: Tensor) -> Tensor:
    """Evaluate w_A(r), proportional to |r - R_A|^-4, with sum_A w_A = 1.

    Args:
        positions: electron positions, shape (B, N, 3), float64, in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.

    Returns:
        Shape (B, N, A).
    """
    distances = torch.cdist(positions, nuclei, compute_mode="donot_use_mm_for_euclid_dist").clamp(min=CLOSEST)
    powers = distances**-POWER
    return powers / powers.sum(-1, keepdim=True)


def warp_slopes(positions: Tensor, nuclei: Tensor, weights: Tensor) -> Tensor:
    """Differentiate the weights by the positions of the electrons: grad w_A = w_A (g_A - sum_B w_B g_B).

    Args:
        positions: electron positions, shape (B, N, 3), float64, in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr.
        weights: what `warp_weights` makes of these, shape (B, N, A).

    Returns:
        Shape (B, N, A, 3), in 1/bohr.
    """
    vectors = positions[..., None, :] - nuclei  # (B, N, A, 3)
    slopes = -POWER * vectors / vectors.square().sum(-1, keepdim=True).clamp(min=CLOSEST**2)  # of the logarithms
    return weights[..., None] * (slopes - (weights[..., None] * slopes).sum(-2, keepdim=True))
