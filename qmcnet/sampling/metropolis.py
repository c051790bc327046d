"""Metropolis sampling of |psi|^2 by all walkers at once.

Dimension letters: B walkers, N electrons.

References:
    Metropolis, Rosenbluth, Rosenbluth, Teller, Teller, J. Chem. Phys. 21, 1087 (1953), doi:10.1063/1.1699114.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.checks import at_least, between, positive
from qmcnet.compute.team import team
from qmcnet.protocols import LogProbability
from qmcnet.sampling.proposals import Draws, all_electron, check_blocks, log_ratio, one_block
from qmcnet.sampling.surroundings import Surroundings
from qmcnet.sampling.walkers import Walkers

_NARROWEST, _WIDEST = 1e-3, 10.0
_LARGEST_FACTOR = 2.0


@dataclass(frozen=True)
class Metropolis:
    """Gaussian moves, accepted with probability min(1, p(r') / p(r)), of an adapted width.

    Attributes:
        steps: moves in a sweep.
        n_blocks: 1 moves all electrons at once, n > 1 one of n groups of them, None single electrons.
        width: width of the first sweep, bohr, or in units of the local lengths.
        target_low: lower end of the accepted fraction that the width is steered to.
        target_high: upper end of it.
        local: whether the width is in units of a length that grows with the distance of an electron to the nuclei, so
            that electrons in a core make short moves and outer ones long ones.
        jumps: share of the moves of a molecule that exchange two electrons of opposite spin, or take one from a nucleus
            to another; the width does not follow from them.
    """

    steps: int = 10
    n_blocks: int | None = 1
    width: float = 0.2
    target_low: float = 0.5
    target_high: float = 0.55
    local: bool = False
    jumps: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot sample.

        Raises:
            ValueError: a setting is outside its range.
        """
        at_least(1, steps=self.steps, n_blocks=self.n_blocks)
        between(_NARROWEST, _WIDEST, width=self.width)
        positive(target_low=self.target_low)
        at_least(0, below=1, jumps=self.jumps)
        at_least(self.target_low, below=1, target_high=self.target_high)
        if self.target_low == self.target_high:
            raise ValueError(f"target_high={self.target_high} must be more than target_low={self.target_low}")

    def start(self, positions: Tensor) -> Walkers:
        """Make walkers at given positions, with the initial width.

        Args:
            positions: electron positions, spin-up electrons first, (B, N, 3), bohr.

        Returns:
            The walkers.
        """
        check_blocks(self.n_blocks or 1, positions.shape[1])
        width = torch.tensor(self.width, dtype=torch.float64, device=positions.device)
        return Walkers(positions, width)

    @torch.no_grad()
    def sweep(
        self,
        log_prob: LogProbability,
        walkers: Walkers,
        generator: torch.Generator,
        adapt: bool = True,
        surroundings: Surroundings | None = None,
    ) -> tuple[Walkers, dict[str, Tensor]]:
        """Make `steps` moves of every walker, then adapt the width.

        A move to a non-finite log-probability is never accepted; from one, any finite value is. Every process moves its
        own walkers, and nothing is exchanged before the last move.

        Args:
            log_prob: log-probability of the walkers of this process up to a constant, evaluated at the start and once a
                move.
            walkers: where all walkers are.
            generator: source of randomness on the device of the walkers.
            adapt: whether the width follows the accepted fraction; False keeps the Markov chain homogeneous.
            surroundings: what local moves and jumps know of the molecule.

        Returns:
            All walkers, moved, and 0-dim statistics on their device: `pmove`, the `width` used (bohr or local lengths),
            `stuck_share` of walkers that did not move, `step_length`, the mean distance of an electron from
            where it started (bohr), and the mean `log_prob` of the moved walkers.

        Raises:
            ValueError: if there are local moves or jumps and nothing is known of the molecule.
        """
        if (self.local or self.jumps) and surroundings is None:
            raise ValueError("surroundings must be given for local moves and jumps, as by Simulation.sweep")
        start, count = walkers.positions, len(walkers.positions)
        own, draws = team().share(start), Draws(generator, count)
        current, width = log_prob(own), self._widths(own, walkers.width, surroundings)
        n_accepted, n_moves = torch.zeros(2, len(own), dtype=torch.float64, device=own.device)
        for _ in range(self.steps):
            proposed, jumping = self._propose(own, width, draws, surroundings)
            new, back = log_prob(proposed), self._widths(proposed, walkers.width, surroundings)
            gain = new - current
            if self.local:
                gain = gain + torch.where(jumping, 0, log_ratio(own, proposed, width, back))
            accepted = new.isfinite() & (~current.isfinite() | (draws.uniform(new).log() < gain))
            own = torch.where(accepted[:, None, None], proposed, own)
            current = torch.where(accepted, new, current)
            width = torch.where(accepted[:, None, None], back, width) if self.local else width
            n_accepted += accepted & ~jumping
            n_moves += ~jumping
        positions, current, n_accepted, n_moves = team().gather([own, current, n_accepted, n_moves], count)
        pmove = n_accepted.sum() / n_moves.sum().clamp(min=1)
        stats = {
            "pmove": pmove,
            "width": walkers.width,
            "stuck_share": (n_accepted == 0).double().mean(),
            "step_length": (positions - start).norm(dim=-1).double().mean(),
            "log_prob": current.double().mean(),
        }
        adapted = self._adapted(walkers.width, pmove) if adapt else walkers.width
        return Walkers(positions, adapted), stats

    def _widths(self, positions: Tensor, width: Tensor, surroundings: Surroundings | None) -> Tensor:
        """Width of the moves of each electron, (B, N, 1), or one for all."""
        return width * surroundings.lengths(positions) if surroundings and self.local else width

    def _propose(
        self, positions: Tensor, width: Tensor, draws: Draws, surroundings: Surroundings | None
    ) -> tuple[Tensor, Tensor]:
        """Positions to try, (B, N, 3), and which walkers try to jump, (B,)."""
        jumping = torch.zeros(len(positions), dtype=torch.bool, device=positions.device)
        if self.n_blocks == 1:
            proposed = all_electron(positions, width, draws)
        else:
            proposed = one_block(positions, width, draws, self.n_blocks or positions.shape[1])
        if surroundings and self.jumps:
            jumping = draws.uniform(positions[:, 0, 0]) < self.jumps
            proposed = torch.where(jumping[:, None, None], surroundings.jumped(positions, draws), proposed)
        return proposed, jumping

    def _adapted(self, width: Tensor, pmove: Tensor) -> Tensor:
        """Scale the width by the ratio of the accepted fraction to the nearer end of its target."""
        nearest = pmove.clamp(self.target_low, self.target_high)
        factor = (pmove / nearest).clamp(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
        return (width * factor).clamp(_NARROWEST, _WIDEST)
