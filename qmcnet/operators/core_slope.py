"""How the energy of effective core potentials changes when electrons and wavefunction move along with the nuclei.

With psi(r) becoming psi(r - v(r)) times the root of a Jacobian, as for all forces, what a projector finds at a place x'
about a nucleus, sum_q f_q psi(x'_q), becomes

    sum_q [ D f_q - f_q (div v(x'_q) - div v(x)) / 2 ] psi(x'_q) + f_q (D x'_q - v(x'_q)) . grad psi(x'_q),

where the electron at x moves by v(x) and D are changes by that: places keep their directions from the nucleus. About a
nucleus that takes all near it along, each term vanishes.

Letters: M points, S states, N electrons, A nuclei, Q directions of a rule, E electrons that are taken.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from qmcnet.operators.effective_core import EffectiveCore, Place, displaced, radial
from qmcnet.operators.operator import States
from qmcnet.system.warp import Warp, largest_outside, warp_slopes

WEAK = 1.0
"""Hartree/bohr; of electrons that can contribute no more, only as large a share is taken as they contribute."""


class CoreSlope(EffectiveCore):
    """Derivatives of core potentials, applied to the states, by the positions of the nuclei, which all else follows.

    Of a channel of s functions alone the rule has two directions, which add less than a hundredth to the variance.
    """

    least_degree = 1

    def slope(self, states: States, moving: Warp, charges: Tensor) -> Tensor:
        """Differentiate the potentials.

        Args:
            states: the states at M points.
            moving: weights of the nuclei at the electrons.
            charges: of the nuclei, for the weights elsewhere, shape (A,).

        Returns:
            Shape (M, A, 3, S), in hartree/bohr.
        """
        displacements, distances = self.from_nuclei(states)
        steepness = derivative(lambda r: radial(r, self.local), distances)
        pull = (steepness / distances)[..., None] * displacements  # (M, N, A, 3)
        local = moving.weights.mT @ pull.sum(2) - pull.sum(1)
        total = local[..., None] * states.psi[:, None, None]
        if not self.n_channels:
            return total
        each = distances[..., None].expand(*distances.shape, self.n_channels)
        change = distances[..., None] * derivative(lambda r: radial(r, self.channels), each)
        strength = (radial(each, self.channels).abs() + change.abs()).amax(-1) / distances  # in hartree/bohr
        strength = strength * largest_outside(distances, states.nuclei, charges)
        for place, turned, share in self.taken(states, (strength / WEAK).clamp(max=1)):
            parts = self._of_electrons(states, place, displacements[place], turned, moving, charges)
            # This adds in the same order every time on a GPU, too, as `index_add_` does not.
            total.index_put_((place[0],), parts / share[:, None, None, None], accumulate=True)
        return total

    def _of_electrons(
        self, states: States, place: Place, away: Tensor, turned: Tensor, moving: Warp, charges: Tensor
    ) -> Tensor:
        """Differentiate what projectors find for E electrons, (E, A, 3, S), in the terms of this file's docstring."""
        point, electron, nucleus = place
        leaves = away[:, None].expand_as(turned)
        places, factors = self.rule(states, place, leaves, turned)
        bent = derivative(lambda leaf: self.rule(states, place, leaf, turned)[1], leaves)  # (E, Q, 3)
        psi, slopes = self._slopes(states, place, places)  # (E, Q, S), (E, Q, S, 3)
        there, spread_there = warp_slopes(places, states.nuclei, charges)  # (E, Q, A), (E, Q, A, 3)
        here, spread_here = moving.weights[point, electron], moving.slopes[point, electron]
        own = (nucleus[:, None] == torch.arange(here.shape[-1], device=nucleus.device)).to(here)
        relative, outward = here - own, away / torch.linalg.vector_norm(away, dim=-1, keepdim=True)
        weighed = factors[..., None] * psi  # (E, Q, S)
        found = torch.einsum("ea,eqx,eqs->eaxs", relative.to(psi), bent.to(psi), psi)
        found = found - torch.einsum("eqax,eqs->eaxs", (spread_there - spread_here[:, None]).to(psi), weighed) / 2
        steep = factors[..., None, None] * slopes
        along = torch.einsum("eqx,eqsx->es", turned.to(psi), steep)
        found = found + torch.einsum("ea,ex,es->eaxs", relative.to(psi), outward.to(psi), along)
        return found + torch.einsum("eqa,eqsx->eaxs", (own[:, None] - there).to(psi), steep)

    @staticmethod
    def _slopes(states: States, place: Place, places: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the states where one electron of each point is displaced, and their gradients by that electron."""
        movers = place[1].repeat_interleave(places.shape[1])
        psi, slopes = states.slopes_at(*displaced(states, place, places), movers)
        return psi.unflatten(0, places.shape[:2]), slopes.unflatten(0, places.shape[:2])


@torch.inference_mode(False)
@torch.enable_grad()
def derivative(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Differentiate a function that acts on each row of a tensor, or each element, by itself.

    Args:
        function: of the tensor.
        x: where.

    Returns:
        Derivatives, of the same shape.
    """
    leaf = x.detach().clone().requires_grad_()
    slope: Tensor = torch.autograd.grad(function(leaf).sum(), leaf)[0]
    return slope
