"""How long, and at which time steps, to diffuse."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from qmcnet.checks import at_least, positive

FEWEST = 10
"""Generations of which an estimate is made at least."""
LARGEST, LARGEST_OF_CARBON = 0.02, 0.012
"""Time steps in 1/hartree, the second at which a tenth of the moves of all electrons of a carbon atom are rejected."""


@dataclass(frozen=True)
class DiffusionSettings:
    """How to run diffusion Monte Carlo.

    Attributes:
        timesteps: imaginary times of a step, in 1/hartree, by which the energy is extrapolated to zero; 'auto' takes
            three that follow from the charges of the nuclei.
        target_error: standard error of the extrapolated energy, in hartree, at which to stop; None makes all steps.
        steps: most steps at each time step; None for 20000, or as many as an energy takes where that is more.
        window: imaginary time, in 1/hartree, over which weights count that a fixed number of walkers divides out.
        single_electron: whether electrons move one after the other, which more are accepted of, and takes a gradient of
            the wavefunction for each.
        t_moves: whether electrons hop by core potentials, which keeps the energy above the exact one; false is the
            locality approximation. Without core potentials it changes nothing.
        walkers: their number, which the bias of a fixed number falls with; None for those of the training.
    """

    timesteps: Sequence[float] | Literal["auto"] = "auto"
    target_error: float | None = 2e-4
    steps: int | None = None
    window: float = 5.0
    single_electron: bool = False
    t_moves: bool = True
    walkers: int | None = None

    def __post_init__(self) -> None:
        """Check the settings, and put the largest time step first.

        Raises:
            ValueError: for no time step, one that is not positive, or another number out of range.
        """
        positive(target_error=self.target_error, window=self.window)
        at_least(FEWEST, steps=self.steps)
        at_least(2, walkers=self.walkers)
        if self.timesteps == "auto":
            return
        given = self.timesteps
        numbers = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else []
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(f"timesteps={self.timesteps!r} must be auto, or a list of times in 1/hartree: [0.02,0.01]")
        for timestep in self.timesteps:
            positive(timesteps=timestep)
        if len({*self.timesteps}) < len(self.timesteps):
            raise ValueError(f"timesteps={list(self.timesteps)} holds a time twice")
        object.__setattr__(self, "timesteps", tuple(sorted(map(float, self.timesteps), reverse=True)))

    def with_timesteps(self, charges: Tensor) -> Self:
        """Choose time steps for a molecule, where none are given.

        A tenth of the moves is rejected at a time step that falls as (sum Z^2)^-1.3 over the nuclei, as was found for
        C, N, O, H2O and N2 within a tenth of it. The largest is below, a power of two below 0.02.

        Args:
            charges: of its nuclei, shape (A,).

        Returns:
            Settings with time steps.
        """
        if self.timesteps != "auto":
            return self
        squares = float(charges.square().sum())
        allowed = LARGEST_OF_CARBON * (6**2 / squares) ** 1.3
        largest = LARGEST / 2 ** max(0, math.ceil(math.log2(LARGEST / allowed)))
        return replace(self, timesteps=(largest, largest / 2, largest / 4))

    def label(self, averaged: bool, observables: Sequence[str]) -> str:
        """Name the series that a diffusion belongs to.

        Args:
            averaged: whether averaged parameters guide the walkers.
            observables: names of what is measured besides the energy.

        Returns:
            Text that sets the series apart.
        """
        times = "auto" if self.timesteps == "auto" else ",".join(f"{timestep:g}" for timestep in self.timesteps)
        kind = ["single_electron"] * self.single_electron + ["t_moves=false"] * (not self.t_moves)
        kind += [] if self.walkers is None else [f"walkers={self.walkers}"]
        return ",".join([f"timesteps={times}", *kind, *["averaged=false"] * (not averaged), *observables])
