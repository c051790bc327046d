"""Averages of local matrices, kept by group of walkers and by time, so that any figure made of them has an error bar.

Walkers are independent of one another, so the averages over different groups of them are too, whatever the
autocorrelation of a walker: leaving out one group at a time is a jackknife over independent blocks.

Letters: B walkers, G groups of walkers, S states, C components of an observable.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

N_GROUPS = 32
N_BINS = 16
Means = dict[str, NDArray[Any]]


class Averages:
    """Sums of local matrices over groups of walkers, in time bins that grow longer as the series does."""

    def __init__(self) -> None:
        """Start without a sample."""
        self.bins: list[dict[str, Tensor]] = []
        self.steps_per_bin, self.steps_in_last = 1, 0

    @property
    def n_states(self) -> int:
        """Number of states S; 1 before the first sample."""
        return int(self.bins[0]["energy"].shape[-1]) if self.bins else 1

    @property
    def n_samples(self) -> float:
        """Number of samples, over all walkers and steps."""
        return float(sum(part["count"].sum().item() for part in self.bins))

    def add(self, local: Mapping[str, Tensor]) -> None:
        """Add the local matrices of one step; a walker with one that is not finite is left out.

        Args:
            local: local matrices by name, each (B, C, S, S).
        """
        flat = {name: matrices.flatten(1) for name, matrices in local.items()}
        finite = torch.stack([torch.isfinite(rows).all(-1) for rows in flat.values()]).all(0)  # (B,)
        n_walkers = len(finite)
        n_groups = min(N_GROUPS, n_walkers)
        group = torch.arange(n_walkers, device=finite.device) * n_groups // n_walkers
        # A product with zeros and ones adds up in the same order on every device, as scattering does not.
        members = (group == torch.arange(n_groups, device=finite.device)[:, None]).double() * finite  # (G, B)
        sums = {name: members.to(rows.dtype) @ torch.where(finite[:, None], rows, 0) for name, rows in flat.items()}
        step = {name: sums[name].unflatten(-1, local[name].shape[1:]) for name in local} | {"count": members.sum(-1)}
        if self.bins and self.steps_in_last < self.steps_per_bin:
            self.bins[-1] = {name: total + step[name] for name, total in self.bins[-1].items()}
            self.steps_in_last += 1
            return
        if len(self.bins) == N_BINS:
            pairs = zip(self.bins[::2], self.bins[1::2], strict=True)
            self.bins = [{name: first[name] + second[name] for name in first} for first, second in pairs]
            self.steps_per_bin *= 2
        self.bins.append(step)
        self.steps_in_last = 1

    def sums(self, discarded: float = 0.0) -> dict[str, NDArray[np.float64]]:
        """Sum over time.

        Args:
            discarded: share of the time bins to leave out at the start.

        Returns:
            Sums by name, each (G, C, S, S), and the number of samples in them as `count`, (G,), of groups with any.
        """
        kept = self.bins[int(discarded * len(self.bins)) :]
        sums = {name: torch.stack([part[name] for part in kept]).sum(0).cpu().numpy() for name in kept[0]}
        return {name: total[sums["count"] > 0] for name, total in sums.items()}

    def means(self, discarded: float = 0.0) -> Means:
        """Average over walkers and time.

        Args:
            discarded: share of the time bins to leave out at the start.

        Returns:
            Averages by name, each (C, S, S).
        """
        return _mean(self.bins[int(discarded * len(self.bins)) :])

    def halves(self, discarded: float = 0.0) -> tuple[Means, Means] | None:
        """Average the first and the second half of the time on their own.

        Args:
            discarded: share of the time bins to leave out at the start.

        Returns:
            Averages by name, each (C, S, S); None of a single bin.
        """
        kept = self.bins[int(discarded * len(self.bins)) :]
        middle = len(kept) // 2
        if not middle:
            return None
        return _mean(kept[:middle]), _mean(kept[middle:])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed evaluation needs."""
        return {"bins": list(self.bins), "steps_per_bin": self.steps_per_bin, "steps_in_last": self.steps_in_last}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where the local matrices will be.
        """
        self.bins = [{name: total.to(device) for name, total in part.items()} for part in state["bins"]]
        self.steps_per_bin, self.steps_in_last = state["steps_per_bin"], state["steps_in_last"]


def _mean(bins: Sequence[Mapping[str, Tensor]]) -> Means:
    totals = {name: torch.stack([part[name] for part in bins]).sum((0, 1)) for name in bins[0]}
    return {name: (total / totals["count"]).cpu().numpy() for name, total in totals.items() if name != "count"}
