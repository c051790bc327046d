"""Sums over time in bins that grow longer as a series does: memory is bounded, and a start can be left out.

Bins have 2^k steps, with the smallest k at which a given number of them is enough. The edges of a series with few bins
are therefore edges of one with more of them, if both numbers are powers of two.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Sums = dict[str, Tensor]


class TimeBins:
    """Sums of named tensors over time."""

    def __init__(self, most: int) -> None:
        """Start without a step.

        Args:
            most: largest number of bins, a power of two.
        """
        self.most = most
        self.parts: list[Sums] = []
        self.steps_per_bin, self.steps_in_last = 1, 0

    @property
    def n_steps(self) -> int:
        """Number of steps added."""
        return self.steps_per_bin * max(len(self.parts) - 1, 0) + self.steps_in_last

    @property
    def n_full(self) -> int:
        """Number of bins that hold as many steps as they can."""
        return len(self.parts) - (0 < self.steps_in_last < self.steps_per_bin)

    def add(self, step: Mapping[str, Tensor]) -> None:
        """Add one step; when all bins are full, they merge in pairs first.

        Args:
            step: tensors by name, the same names and shapes at every step.
        """
        if self.parts and self.steps_in_last < self.steps_per_bin:
            self.parts[-1] = {name: total + step[name] for name, total in self.parts[-1].items()}
            self.steps_in_last += 1
            return
        if len(self.parts) == self.most:
            pairs = zip(self.parts[::2], self.parts[1::2], strict=True)
            self.parts = [{name: first[name] + second[name] for name in first} for first, second in pairs]
            self.steps_per_bin *= 2
        self.parts.append(dict(step))
        self.steps_in_last = 1

    def after(self, discarded: int) -> list[Sums]:
        """Return the bins that are left after some steps.

        Args:
            discarded: number of steps to leave out at the start; of a bin they end in, none is left out.

        Returns:
            Sums by name.
        """
        return self.parts[discarded // self.steps_per_bin :]

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed series needs."""
        names = self.parts[0] if self.parts else ()
        # One tensor a name: many small ones take longer to save than a short run does its steps.
        bins = {name: torch.stack([part[name] for part in self.parts]) for name in names}
        return {"bins": bins, "steps_per_bin": self.steps_per_bin, "steps_in_last": self.steps_in_last}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: where the sums will be.
        """
        self.parts = [{name: total.to(device) for name, total in part.items()} for part in separate(state["bins"])]
        self.steps_per_bin, self.steps_in_last = state["steps_per_bin"], state["steps_in_last"]


def separate(bins: Mapping[str, Tensor] | list[Sums]) -> list[Sums]:
    """Take saved bins apart.

    Args:
        bins: tensors by name, the bins first in their shapes; or as version 0.1 and what translates it has them.

    Returns:
        Sums by name, of each bin.
    """
    if isinstance(bins, list):
        return bins
    count = max(map(len, bins.values()), default=0)
    return [{name: sums[index] for name, sums in bins.items()} for index in range(count)]
