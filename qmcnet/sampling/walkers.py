"""The ensemble of walkers, the state that a sampler carries.

Dimension letters: B walkers, N electrons.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Walkers:
    """Independent samples of all electron positions, with the proposal width adapted to them.

    Attributes:
        positions: electron positions, spin-up electrons first, (B, N, 3), bohr.
        width: standard deviation of a proposed displacement, 0-dim, bohr.
    """

    positions: Tensor
    width: Tensor

    def __post_init__(self) -> None:
        """Refuse tensors of another shape.

        Raises:
            ValueError: `positions` is not (B, N, 3) or `width` is not a single number.
        """
        if self.positions.ndim != 3 or self.positions.shape[-1] != 3:
            raise ValueError(f"positions has shape {tuple(self.positions.shape)}: it must be (B, N, 3)")
        if self.width.ndim != 0:
            raise ValueError(f"width has shape {tuple(self.width.shape)}: it must be a 0-dim tensor")

    def replace(self, **changes: Tensor) -> "Walkers":
        """Copy the walkers with some fields changed.

        Args:
            **changes: new `positions` or `width`.

        Returns:
            The changed copy.
        """
        return dataclasses.replace(self, **changes)

    def to_state(self) -> dict[str, Tensor]:
        """Name the tensors for a checkpoint.

        Returns:
            The fields by name.
        """
        return {"positions": self.positions, "width": self.width}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> "Walkers":
        """Rebuild the walkers from a checkpoint.

        Args:
            state: what `to_state` returned.

        Returns:
            The walkers.
        """
        return cls(positions=state["positions"], width=state["width"])
