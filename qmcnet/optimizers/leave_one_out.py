"""Natural gradients in which no walker bends the curvature that its own energy is divided by.

(S + damping)^-1 g with S and g of the same walkers is no unbiased estimate. With fewer walkers than directions above
the damping, a batch is interpolated: each walker counts for its energy divided by the size of its scores, and training
settles where such a weighted variance is least, which is not where the energy is.

Letters: B walkers, G functions of a walker.
"""

import torch
from torch import Tensor

from qmcnet.optimizers.gradient import centred

LEAST = 1e-6
"""Smallest 1 - 1/B - h, which rounding might make negative."""


def right_hand_side(values: Tensor, asked: Tensor, finite: Tensor) -> Tensor:
    """Leave walkers out of energies that were centred, and divided by sqrt(B), with them.

    Args:
        values: shape (B G,).
        asked: walkers that the values were centred over, shape (B,).
        finite: those of them that count, shape (B,).

    Returns:
        The values centred and divided anew, shape (B G,).
    """
    ratio = asked.sum().clamp(min=1) / finite.sum().clamp(min=1)
    return centred(values, finite) * ratio.double().sqrt()


def unbent(target: Tensor, left: Tensor, asked: Tensor, finite: Tensor) -> Tensor:
    """Undo what each walker does to the curvature that its own energy is divided by.

    The solution sums (S + damping)^-1 o_b e_b, where S holds o_b o_b^T as well: what has large scores moves little,
    for its energy as for noise, and where the sum vanishes is not where the energy is least. With S of the others
    alone, centred by their own mean, it would be (S + damping)^-1 o_b e_b / (1 - 1/B - h_b) up to a constant factor,
    with h_b = o_b^T (S + damping)^-1 o_b (Sherman and Morrison).

    Args:
        target: centred energies over sqrt(B), shape (B G,).
        left: 1 - h_b, of several functions a matrix, shape (B, G, G).
        asked: walkers that the energies were centred over, shape (B,).
        finite: those of them that count, shape (B,).

    Returns:
        Energies over 1 - 1/B - h_b, scaled by the mean of its inverse, and centred, shape (B G,).
    """
    own = right_hand_side(target, asked, finite).unflatten(0, (len(finite), -1))
    one = torch.eye(left.shape[-1], dtype=left.dtype, device=left.device)
    count = finite.sum().clamp(min=1).double()
    left = left - one / count
    left.diagonal(dim1=1, dim2=2).clamp_(min=LEAST)
    inverse = torch.linalg.solve_ex(left, one.expand_as(left))[0]  # (B, G, G)
    sizes = torch.where(finite, inverse.diagonal(dim1=1, dim2=2).mean(-1), 0)
    mean = sizes.sum() / count
    return centred((inverse @ own[..., None])[..., 0].flatten() / mean, finite)
