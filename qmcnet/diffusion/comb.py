"""Reconfiguration of weighted walkers into as many walkers of equal weight.

References:
    Buonocore and Sorella, Phys. Rev. B 57, 11446 (1998), doi:10.1103/PhysRevB.57.11446 (fixed number of walkers).

Letters: B walkers.
"""

import torch
from torch import Tensor


def comb(weights: Tensor, offset: Tensor) -> Tensor:
    """Choose walkers at equal distances along their cumulated weights, each on average B w / sum(w) times.

    The number of copies of a walker is never further than one from its average.

    Args:
        weights: not negative, shape (B,).
        offset: random number between 0 and 1, 0-dim.

    Returns:
        Numbers of the walkers that are kept, ascending, shape (B,).
    """
    cumulated = weights.double().cumsum(0)
    teeth = (torch.arange(len(weights), device=weights.device) + offset) * (cumulated[-1] / len(weights))
    return torch.searchsorted(cumulated, teeth, right=True).clamp(max=len(weights) - 1)
