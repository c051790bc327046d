"""How long, and at which time steps, to diffuse."""

from collections.abc import Sequence
from dataclasses import dataclass

from qmcnet.checks import at_least, positive

FEWEST = 10
"""Generations of which an estimate is made at least."""


@dataclass(frozen=True)
class DiffusionSettings:
    """How to run diffusion Monte Carlo.

    Attributes:
        timesteps: imaginary times of a step, in 1/hartree, by which the energy is extrapolated to zero.
        target_error: standard error of the extrapolated energy, in hartree, at which to stop; None makes all steps.
        steps: most steps at each time step.
        window: imaginary time, in 1/hartree, over which weights count that a fixed number of walkers divides out.
        single_electron: whether electrons move one after the other, which more are accepted of, and takes a gradient of
            the wavefunction for each.
        walkers: their number, which the bias of a fixed number falls with; None for those of the training.
    """

    timesteps: Sequence[float] = (0.02, 0.01, 0.005)
    target_error: float | None = 2e-4
    steps: int = 20000
    window: float = 5.0
    single_electron: bool = False
    walkers: int | None = None

    def __post_init__(self) -> None:
        """Check the settings, and put the largest time step first.

        Raises:
            ValueError: for no time step, one that is not positive, or another number out of range.
        """
        numbers = list(self.timesteps) if isinstance(self.timesteps, Sequence) else []
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise ValueError(f"timesteps={self.timesteps!r} must be a list of times in 1/hartree, as [0.02,0.01,0.005]")
        for timestep in self.timesteps:
            positive(timesteps=timestep)
        if len({*self.timesteps}) < len(self.timesteps):
            raise ValueError(f"timesteps={list(self.timesteps)} holds a time twice")
        positive(target_error=self.target_error, window=self.window)
        at_least(FEWEST, steps=self.steps)
        at_least(2, walkers=self.walkers)
        object.__setattr__(self, "timesteps", tuple(sorted(map(float, self.timesteps), reverse=True)))

    def label(self, averaged: bool, observables: Sequence[str]) -> str:
        """Name the series that a diffusion belongs to.

        Args:
            averaged: whether averaged parameters guide the walkers.
            observables: names of what is measured besides the energy.

        Returns:
            Text that sets the series apart.
        """
        times = ",".join(f"{timestep:g}" for timestep in self.timesteps)
        kind = ["single_electron"] * self.single_electron
        kind += [] if self.walkers is None else [f"walkers={self.walkers}"]
        return ",".join([f"timesteps={times}", *kind, *["averaged=false"] * (not averaged), *observables])
