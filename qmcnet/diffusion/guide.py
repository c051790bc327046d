"""Walkers, and what the guiding wavefunction says where they are.

Letters: B walkers, b of them, N electrons, C quantities measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Guided:
    """Walkers with the guiding wavefunction at their positions.

    Attributes:
        positions: electron positions, shape (B, N, 3), in bohr.
        sign: of the wavefunction, shape (B,).
        log_abs: log|psi|, shape (B,), float64.
        drift: gradient of log|psi|, shape (B, N, 3), float64, in 1/bohr.
        energy: local energy, shape (B,), float64, in hartree.
        measured: other local quantities, shape (B, C), float64.
        hops: of each electron, the rate in hartree at which a core potential takes it elsewhere, and the place in bohr,
            shape (B, N, 4), float64; (B, 0, 4) where nothing hops.
    """

    positions: Tensor
    sign: Tensor
    log_abs: Tensor
    drift: Tensor
    energy: Tensor
    measured: Tensor
    hops: Tensor

    def finite(self) -> Tensor:
        """Say where the wavefunction and all that follows from it are finite, shape (B,)."""
        numbers = [self.log_abs, self.energy, self.drift.flatten(1).sum(-1), self.positions.flatten(1).sum(-1)]
        return torch.stack([number.isfinite() for number in numbers]).all(0)

    def where(self, chosen: Tensor, other: "Guided") -> "Guided":
        """Keep some walkers, and replace the others by those of the same number.

        Args:
            chosen: which are kept, shape (B,).
            other: the replacements.

        Returns:
            The walkers.
        """

        def mixed(own: Tensor, theirs: Tensor) -> Tensor:
            """Choose rows."""
            return torch.where(chosen.view(-1, *[1] * (own.ndim - 1)), own, theirs)

        return Guided(**{name: mixed(value, getattr(other, name)) for name, value in self.to_state().items()})

    def take(self, indices: Tensor) -> "Guided":
        """Choose walkers, some maybe more than once.

        Args:
            indices: their numbers, shape (B,).

        Returns:
            The walkers.
        """
        return Guided(**{name: value[indices] for name, value in self.to_state().items()})

    def put(self, indices: Tensor, others: "Guided") -> "Guided":
        """Replace some walkers.

        Args:
            indices: their numbers, shape (b,).
            others: what takes their places.

        Returns:
            All walkers.
        """
        state = self.to_state().items()
        return Guided(**{name: value.index_copy(0, indices, getattr(others, name)) for name, value in state})

    def to_state(self) -> dict[str, Tensor]:
        """Name the tensors for a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], device: torch.device) -> "Guided":
        """Rebuild the walkers from a checkpoint.

        Args:
            state: what `to_state` returned.
            device: where they are needed.

        Returns:
            The walkers.
        """
        nothing = {"hops": state["drift"].new_zeros(len(state["drift"]), 0, 4)}  # as the first version, without cores
        return cls(**{name: value.to(device) for name, value in (nothing | {**state}).items()})


Guide: TypeAlias = Callable[[Tensor], Guided]
"""Evaluates the guiding wavefunction at positions (B, N, 3) of all walkers."""
