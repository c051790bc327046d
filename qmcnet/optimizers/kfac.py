"""KFAC: natural-gradient descent with Kronecker-factored curvature.

Inputs and signals of every layer come from hooks that are active in the scoring pass alone. What differs from kfac-jax
as FermiNet uses it: the curvature is that of centred scores (a term of rank one in each block, exact for a linear
layer that is called once), the gradient is that of half the energy, the inverses come from eigen-decompositions that
serve several updates, every parameter outside of linear layers has a full or, where it is large, a diagonal block of
its own, and there is neither momentum nor an adapted damping.

References:
    Martens, Grosse, ICML 2015, arXiv:1503.05671;
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429.

Letters: B walkers, P parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from qmcnet.checks import at_least, positive
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.team import team
from qmcnet.optimizers.curvature import Averages, Block, DiagonalBlock, FullBlock, KroneckerBlock, decompose
from qmcnet.optimizers.gradient import (
    centred,
    finite_walkers,
    measured,
    trained_parameters,
    without_lost_walkers,
)
from qmcnet.optimizers.guard import ScoreGuard
from qmcnet.optimizers.operator import LayerScores, Slot, add_to_parameters, split_columns, without_lost_scores
from qmcnet.optimizers.scores import chunk_layers, parameter_starts, single_layer


@dataclass
class Measurement:
    """What one batch says about the parameters of a block.

    Attributes:
        block: how their curvature is averaged.
        slots: where they stand in the vector of all parameters.
        gradient: of half the energy, shape (F_out, F_in).
        averages: of the curvature.
    """

    block: Block
    slots: tuple[Slot, ...]
    gradient: Tensor
    averages: Averages

    def __add__(self, other: "Measurement") -> "Measurement":
        """Add the share of another chunk of walkers."""
        averages = {name: value + other.averages[name] for name, value in self.averages.items()}
        return Measurement(self.block, self.slots, self.gradient + other.gradient, averages)


def of_all_processes(blocks: Mapping[int, Measurement]) -> dict[int, Measurement]:
    """Add up what the walkers of all processes say.

    Args:
        blocks: what those of this process say, by number.

    Returns:
        The sums.
    """
    figures = [figure for part in blocks.values() for figure in (part.gradient, *part.averages.values())]
    sums = iter(team().sum(figures))
    return {
        start: Measurement(part.block, part.slots, next(sums), {name: next(sums) for name in part.averages})
        for start, part in blocks.items()
    }


class Kfac:
    """Divides the gradient by running averages of block-diagonal curvature, within a norm constraint.

    The step is -rate F^-1 g with g = <(E_L - <E_L>) O>, shortened where rate^2 g^T F^-1 g exceeds the constraint.
    """

    def __init__(
        self,
        ansatz: nn.Module,
        *,
        learning_rate: float = 0.05,
        damping: float = 1e-3,
        norm_constraint: float = 1e-3,
        constraint_follows_rate: bool = False,
        covariance_decay: float = 0.95,
        inverse_every: int = 10,
        largest_full_block: int = 512,
        chunk_size: int = 1024,
    ) -> None:
        """Start without averages.

        Args:
            ansatz: the wavefunction to optimise.
            learning_rate: learning rate, which a schedule scales.
            damping: added to the curvature, dimensionless.
            norm_constraint: largest squared length of a change in the metric of the curvature.
            constraint_follows_rate: whether the largest length is scaled like the learning rate.
            covariance_decay: share of the averages that is kept at an update, in [0, 1).
            inverse_every: updates from one decomposition of the averages to the next; the first ones all decompose.
            largest_full_block: entries of a parameter outside of linear layers above which its block is diagonal.
            chunk_size: most walkers differentiated at once; fewer where the memory asks for it.

        Raises:
            ValueError: for a setting out of range, or an ansatz without a parameter to train.
        """
        trained_parameters(ansatz)
        positive(learning_rate=learning_rate, damping=damping, norm_constraint=norm_constraint)
        at_least(1, inverse_every=inverse_every, largest_full_block=largest_full_block, chunk_size=chunk_size)
        at_least(0, below=1, covariance_decay=covariance_decay)
        self.settings = {"learning_rate": learning_rate, "damping": damping, "norm_constraint": norm_constraint}
        self.settings |= {"constraint_follows_rate": constraint_follows_rate}
        self.settings |= {"covariance_decay": covariance_decay, "inverse_every": inverse_every}
        self.settings |= {"largest_full_block": largest_full_block, "chunk_size": chunk_size}
        self.ansatz, self.learning_rate, self.damping = ansatz, learning_rate, damping
        self.norm_constraint, self.follows_rate = norm_constraint, constraint_follows_rate
        self.decay, self.inverse_every = covariance_decay, inverse_every
        self.largest_full_block, self.step = largest_full_block, 0
        self.chunks = Chunks("optimizer.chunk_size", chunk_size)
        self.guard = ScoreGuard(ansatz, chunk_size)
        device = next(ansatz.parameters()).device
        self.weight = torch.zeros((), dtype=torch.float64, device=device)  # of all batches in the averages, below one
        self.averages: dict[int, Averages] = {}
        self.parts: dict[int, Averages] = {}

    @torch.no_grad()
    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> dict[str, Tensor | float]:
        """Change the parameters of the ansatz once.

        Without a finite walker, or with scores that are not finite, there is nothing to learn: such an update leaves
        the parameters and the averages as they were.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.
            local_energy: energies that go with the factors, shape (B, G), in hartree; walkers where one is not finite
                are left out.
            scale: multiplies the learning rate.

        Returns:
            Statistics of the update; `skipped` says whether it was left out.

        Raises:
            ValueError: at the first update, for parameters whose scores are wrong; at any, if parameters have been
                frozen or released since the averages began.
        """
        finite = finite_walkers(local_energy)
        weights = (finite.double() / finite.sum().clamp(min=1)).to(positions.dtype)
        energies, positions = centred(local_energy, finite).to(positions.dtype), without_lost_walkers(positions, finite)
        own = [team().share(whole) for whole in (positions, weights, energies)]
        self.guard(own[0])
        starts, n_parameters = parameter_starts(self.ansatz)
        blocks, scored = self.chunks.run(
            lambda size: self._measure([tensor.split(size) for tensor in own], starts),
            lambda few: [self._blocks(few, starts, set())],
            own[0],
        )
        blocks = of_all_processes(blocks)
        finite = finite & team().gather([scored], len(finite))[0]
        figures = [figure for part in blocks.values() for figure in (part.gradient, *part.averages.values())]
        kept = finite.any() & get_total_norm(figures).isfinite()
        self._remember(blocks, kept)
        gradient = positions.new_zeros(n_parameters)
        direction = gradient.clone()
        for start, part in blocks.items():
            step = part.block.divide(part.gradient, self.parts[start], self.damping)
            for vector, value in ((gradient, part.gradient), (direction, step)):
                for slot, share in split_columns(part.slots, value):
                    slot.matrix(vector).copy_(share)
        rate = self.learning_rate * scale
        length = rate**2 * (gradient @ direction)
        longest = self.norm_constraint * (scale**2 if self.follows_rate else 1.0)
        change = -rate * direction * (longest / length.clamp(min=torch.finfo(length.dtype).tiny)).sqrt().clamp(max=1)
        kept = kept & change.isfinite().all()
        add_to_parameters(self.ansatz, torch.where(kept, change, 0))
        stats = measured(kept, {"grad_norm": 2 * gradient.norm(), "update_norm": change.norm()})
        return {**stats, "learning_rate": rate, "nonfinite": (~finite).sum(), "skipped": ~kept}

    def _blocks(
        self, positions: Tensor, starts: dict[nn.Parameter, int], unfit: set[nn.Module]
    ) -> tuple[list[LayerScores], list[Block], Tensor]:
        """Scores of some walkers, how the curvature of each layer is averaged, and whose scores are finite (B G,)."""
        linear, others = chunk_layers(self.ansatz, positions, starts, unfit)
        single = [single_layer({start: scores}) for start, scores in others.items()]
        blocks: list[Block] = [KroneckerBlock() for _ in linear]
        for layer in single:
            small = layer.inputs[0].numel() <= self.largest_full_block
            blocks.append(FullBlock() if small else DiagonalBlock())
        layers, finite = without_lost_scores([*linear, *single])
        return layers, blocks, finite

    def _measure(
        self, chunks: Sequence[Sequence[Tensor]], starts: dict[nn.Parameter, int]
    ) -> tuple[dict[int, Measurement], Tensor]:
        """Gradient and curvature, by where the first parameter of a block starts, and whose scores are finite."""
        total, kept, unfit = dict[int, Measurement](), list[Tensor](), set[nn.Module]()
        for chunk, weight, energy in zip(*chunks, strict=True):  # positions, weights (b,), centred energies (b, G)
            layers, blocks, finite_scores = self._blocks(chunk, starts, unfit)
            kept.append(finite_scores.view(len(chunk), -1).all(-1))
            weight = weight * kept[-1]  # what the others weigh was settled before: an error of one walker in B
            pull = (weight[:, None] * energy).flatten()[:, None, None]
            for layer, block in zip(layers, blocks, strict=True):
                with torch.inference_mode():  # products are faster there
                    gradient = (layer.signals * pull).flatten(0, 1).mT @ layer.inputs.flatten(0, 1)
                    part = Measurement(block, layer.slots, gradient, block.measure(layer, weight))
                start = layer.slots[0].start
                total[start] = total[start] + part if start in total else part
        return total, torch.cat(kept)

    def _remember(self, blocks: dict[int, Measurement], kept: Tensor) -> None:
        """Update the running averages and, when it is time, their decompositions."""
        if self.averages and self.averages.keys() != blocks.keys():
            raise ValueError(
                f"ansatz: blocks of parameters start at {sorted(blocks)}, those of the averages of this optimiser at "
                f"{sorted(self.averages)}: freeze the same parameters as when these began"
            )
        self.step += 1
        due = self.step <= self.inverse_every or self.step % self.inverse_every == 0
        # A batch without a finite walker says nothing: it must neither poison the averages nor shrink them.
        share = (1 - self.decay) * kept.double()
        self.weight = self.weight * (1 - share) + share
        scale, scaled = 1 / self.weight.clamp(min=1 - self.decay), dict[int, Averages]()
        for start, part in blocks.items():
            new = {name: torch.where(kept, share * value, 0) for name, value in part.averages.items()}
            if start in self.averages:
                new = {name: value + (1 - share) * self.averages[start][name] for name, value in new.items()}
            self.averages[start] = new
            scaled[start] = {name: value * scale for name, value in new.items()}
        if due:
            self.parts = decompose({start: part.block for start, part in blocks.items()}, scaled)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        state = {"step": self.step, "weight": self.weight, "averages": self.averages, "parts": self.parts}
        return {**state, "chunks": self.chunks.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        device = next(self.ansatz.parameters()).device
        self.chunks.load_state_dict(state.get("chunks", {}))
        self.step, self.weight = state["step"], state["weight"].to(device, torch.float64)
        self.averages, self.parts = (
            {start: {name: value.to(device) for name, value in part.items()} for start, part in state[key].items()}
            for key in ("averages", "parts")
        )
