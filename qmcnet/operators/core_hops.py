"""Where electrons hop by core potentials: the matrix elements that are negative, one of which is drawn.

The projectors connect a place with others, x' <- x, by V(x', x) psi(x') / psi(x). Diffusion Monte Carlo can make moves
of those that are negative, at a rate of their size, and counts the others as an energy.

References:
    Casula, Phys. Rev. B 74, 161102 (2006), doi:10.1103/PhysRevB.74.161102.

Letters: M points, one state, N electrons, A nuclei, Q directions of a rule, E electrons that are taken.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.operators.effective_core import EffectiveCore, drawn
from qmcnet.operators.operator import States


@dataclass(frozen=True)
class Hops:
    """What a core potential does to walkers.

    Attributes:
        applied: the potential applied to the state, shape (M, 1, 1), in hartree.
        hops: rate in hartree at which each electron hops, and the place in bohr where to, shape (M, N, 4).
    """

    applied: Tensor
    hops: Tensor


def hops(core: EffectiveCore, states: States) -> Hops:
    """Apply a core potential, and draw a hop for each electron from the same evaluations.

    Args:
        core: the potential.
        states: a single state at M points.

    Returns:
        The state with the potential applied, and the hops.
    """
    displacements, distances = core.from_nuclei(states)
    chance = drawn(states, distances, torch.rand, 2)  # (M, N, A, 2)
    projected, rates = (states.psi.new_zeros(distances.shape) for _ in range(2))
    places = states.positions[:, :, None].repeat(1, 1, distances.shape[2], 1)  # (M, N, A, 3)
    for place, around, parts in core.around(states, displacements, distances):
        projected[place] = parts[..., 0].sum(1)
        downhill = (-parts[..., 0] / states.psi[place[0]]).clamp(min=0)  # (E, Q)
        rates[place] = downhill.sum(-1)
        places[place] = chosen(around, downhill, chance[place][:, 0])
    applied = core.applied(states, distances, projected[..., None])
    ends = chosen(places, rates, chance[:, :, 0, 1])
    return Hops(applied, torch.cat([rates.sum(-1, keepdim=True), ends], -1))


def chosen(places: Tensor, rates: Tensor, chance: Tensor) -> Tensor:
    """Choose one of several places, each with a probability in proportion to its rate.

    Args:
        places: shape (..., K, 3).
        rates: not negative, shape (..., K).
        chance: random numbers between 0 and 1, shape (...).

    Returns:
        Shape (..., 3).
    """
    cumulated = rates.cumsum(-1)
    passed = cumulated <= chance[..., None] * cumulated[..., -1:]
    number = passed.sum(-1).clamp(max=rates.shape[-1] - 1)
    return places.gather(-2, number[..., None, None].expand(*number.shape, 1, 3)).squeeze(-2)
