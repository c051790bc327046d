"""Hops of electrons by core potentials, after any other move: T-moves.

The negative matrix elements of a potential make rates v = -V(x', x) psi(x') / psi(x). An electron hops with probability
1 - exp(-t sum v), to one of the x' in proportion to v, and each electron on its own, so that far fragments do not know
of one another. The walkers follow a Hamiltonian whose energy lies above the exact one, which localising the potential
by the wavefunction does not promise.

exp(-t H) is split into exp(-t A), with drift, diffusion and branching by all but these elements, and exp(t M) by them.
A hop has weights exp(t v / 2) at both of its ends. The local energies at both ends of the diffusion hold these weights,
up to factors that cancel from one step to the next. Averages over before and after the hops are those in the middle of
exp(t M), where the splitting makes an error of second order in t.

References:
    Casula, Moroni, Sorella, Filippi, J. Chem. Phys. 132, 154113 (2010), doi:10.1063/1.3380831 (one electron at a time,
    size-consistent; there with probability t v / (1 + t sum v)).

Letters: B walkers, b of them, N electrons.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qmcnet.diffusion.guide import Guided
from qmcnet.diffusion.moves import Move, Moved
from qmcnet.sampling.proposals import Draws


@dataclass(frozen=True)
class TMoves:
    """A move of all walkers, then hops of those electrons that are drawn.

    Attributes:
        move: what comes first.
        guide: evaluates the guiding wavefunction at positions (b, N, 3) of walkers with given numbers, (b,).
    """

    move: Move
    guide: Callable[[Tensor, Tensor], Guided]

    def __call__(self, walkers: Guided, timestep: float, draws: Draws) -> Moved:
        """Move all walkers.

        Args:
            walkers: where they are.
            timestep: imaginary time t, in 1/hartree.
            draws: random numbers of all walkers.

        Returns:
            The walkers after moves and hops.
        """
        moved = self.move(walkers, timestep, draws)
        before = moved.walkers
        rates, places = before.hops[..., 0], before.hops[..., 1:].to(before.positions.dtype)
        hopping = draws.uniform(rates) < -torch.expm1(-timestep * rates)  # (B, N)
        some = hopping.any(-1)
        numbers = some.nonzero()[:, 0]
        if not len(numbers):  # the walkers of other processes may, and all of them draw random numbers together
            numbers = hopping.new_zeros(1, dtype=torch.long)
        old = before.take(numbers)
        new = self.guide(torch.where(hopping[..., None], places, before.positions)[numbers], numbers)
        return replace(moved, walkers=before.put(numbers, new.where(new.finite() & some[numbers], old)))
