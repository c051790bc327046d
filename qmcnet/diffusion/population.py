"""A fixed number of weighted walkers, taken through imaginary time one generation after the other.

Letters: B walkers, C quantities measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute.team import team
from qmcnet.diffusion.branching import Branching
from qmcnet.diffusion.comb import comb
from qmcnet.diffusion.guide import Guided
from qmcnet.diffusion.moves import Move, Moved
from qmcnet.sampling.proposals import Draws

HEAVIEST = 2.0
"""A weight of this, or of its inverse, calls for walkers of equal weights."""


@dataclass(frozen=True)
class Generation:
    """What a generation was like; 0-dim tensors, but for `measured`.

    Attributes:
        energy: weighted mean of the local energies, in hartree.
        measured: that of the other local quantities, shape (C,).
        variance: weighted variance of the local energies, in hartree^2.
        log_weight: logarithm of the mean weight, which is divided out.
        accepted: share of the moves that were accepted.
        crossed: share of those that would have crossed a node.
        effective: imaginary time that passed, in 1/hartree.
        heaviest: largest weight over the mean.
        reconfigured: whether walkers were made anew with equal weights.
        nonfinite: walkers where something is not finite.
    """

    energy: Tensor
    measured: Tensor
    variance: Tensor
    log_weight: Tensor
    accepted: Tensor
    crossed: Tensor
    effective: Tensor
    heaviest: Tensor
    reconfigured: Tensor
    nonfinite: Tensor


class Population:
    """Walkers with weights of mean one, and how much of their diffusion was accepted so far.

    Attributes:
        walkers: all of them.
        weights: shape (B,), float64.
    """

    def __init__(self, walkers: Guided, generator: torch.Generator) -> None:
        """Give all walkers the same weight.

        Args:
            walkers: all of them, distributed as |psi|^2.
            generator: source of randomness on their device, in the same state in every process.
        """
        self.walkers, self.weights, self.generator = walkers, torch.ones_like(walkers.energy), generator
        self.restart()

    def restart(self) -> None:
        """Forget how much of the diffusion was accepted, as for another time step."""
        self._squares = self.weights.new_zeros(2)  # accepted and proposed

    def advance(self, move: Move, branching: Branching) -> Generation:
        """Move the walkers, weigh them, and make them anew where the weights have spread.

        Every process moves its own walkers; all else is done by each of them with the same numbers.

        Args:
            move: moves walkers.
            branching: weighs them.

        Returns:
            What the generation was like before walkers were made anew.
        """
        before, count = self.walkers, len(self.weights)
        own = Guided(**{name: team().share(value) for name, value in before.to_state().items()})
        moved = self._together(move(own, branching.timestep, Draws(self.generator, count)), count)
        after = moved.walkers
        self._squares = self._squares + torch.stack([moved.accepted_squares.sum(), moved.proposed_squares.sum()])
        effective = branching.timestep * self._squares[0] / self._squares[1]
        weights = self.weights * branching.log_weight(before.energy, moved.energy, effective).exp()
        mean = weights.mean()
        weights = weights / mean
        spread = torch.maximum(weights.max(), 1 / weights.min()) > HEAVIEST
        kept = comb(weights, torch.rand((), generator=self.generator, device=weights.device, dtype=weights.dtype))
        self.walkers = after.take(torch.where(spread, kept, torch.arange(count, device=kept.device)))
        self.weights = torch.where(spread, torch.ones_like(weights), weights)
        energies, measured = (moved.energy + after.energy) / 2, (moved.measured + after.measured) / 2
        energy = (weights * energies).mean()
        return Generation(
            energy=energy,
            measured=(weights[:, None] * measured).mean(0),
            variance=(weights * (after.energy - energy).square()).mean(),
            log_weight=mean.log(),
            accepted=moved.accepted.mean(),
            crossed=moved.crossed.mean(),
            effective=effective,
            heaviest=weights.max(),
            reconfigured=spread.double(),
            nonfinite=(~after.finite()).sum(),
        )

    @staticmethod
    def _together(moved: Moved, count: int) -> Moved:
        """Bring the walkers of all processes together."""
        state = moved.walkers.to_state()
        others = [getattr(moved, each.name) for each in fields(moved) if each.name != "walkers"]
        values = team().gather([*state.values(), *others], count)
        walkers = Guided(**dict(zip(state, values[: len(state)], strict=True)))
        return Moved(walkers, *values[len(state) :])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs, besides the generator."""
        return {"walkers": self.walkers.to_state(), "weights": self.weights, "squares": self._squares}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], generator: torch.Generator) -> "Population":
        """Rebuild the walkers from a checkpoint.

        Args:
            state: what `state_dict` returned.
            generator: source of randomness on the device where they are needed.

        Returns:
            The walkers.
        """
        population = cls(Guided.from_state(state["walkers"], generator.device), generator)
        population.weights, population._squares = (state[name].to(generator.device) for name in ("weights", "squares"))
        return population
