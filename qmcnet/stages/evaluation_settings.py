"""How long to evaluate."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from qmcnet.checks import at_least, positive
from qmcnet.statistics.zero_variance import Slope

logger = logging.getLogger(__name__)

AUTOMATIC = "auto"
SHARE_OF_DISTANCE, SMALLEST_TARGET, LARGEST_TARGET = 0.2, 2e-4, 1e-3
"""Automatic target: what an error bar is of the distance to the exact energy, and its bounds in hartree."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How long to evaluate.

    Attributes:
        steps: largest number of recorded steps; 0 turns evaluation off.
        target_error: standard error, in hartree, of the energy of every state, at which to stop; 'auto' is a fifth of
            the distance to the exact energy that the variance tells, 0.2 to 1 mHa; None uses all steps.
        min_steps: recorded steps at which the error is looked at first, 50 at least; then after a quarter more steps
            each time.
        burn_in: sweeps made before recording.
    """

    steps: int = 1000
    target_error: float | str | None = None
    min_steps: int = 100
    burn_in: int = 50

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a number out of range.
        """
        at_least(0, steps=self.steps, min_steps=self.min_steps, burn_in=self.burn_in)
        if not isinstance(self.target_error, str):
            positive(target_error=self.target_error)
        elif self.target_error != AUTOMATIC:
            raise ValueError(f"target_error={self.target_error!r} must be a number, {AUTOMATIC} or null")

    def target(self, variance: float, slope: Slope) -> float | None:
        """Tell at which standard error to stop.

        Args:
            variance: typical one of the local energy, in hartree^2.
            slope: of the line of energies against variances.

        Returns:
            The error, in hartree; None for none.
        """
        if not isinstance(self.target_error, str):
            return self.target_error
        if not math.isfinite(variance):
            return SMALLEST_TARGET
        return min(max(SHARE_OF_DISTANCE * slope.median * variance, SMALLEST_TARGET), LARGEST_TARGET)

    def say_unreachable(self) -> None:
        """Warn where the error is never looked at."""
        if self.target_error is not None and 0 < self.steps < self.min_steps:
            logger.warning(
                "evaluation.min_steps=%d is more than evaluation.steps=%d: target_error is never looked at",
                self.min_steps,
                self.steps,
            )

    def met_by(self, steps: int, standard_error: float | None, variance: float, slope: Slope) -> bool:
        """Tell whether an earlier evaluation is as good as one with these settings.

        Args:
            steps: recorded steps.
            standard_error: largest of the energies of all states, in hartree; None if there is no estimate.
            variance: typical one of the local energy, in hartree^2; nan if it is not known.
            slope: of the line of energies against variances.

        Returns:
            Whether nothing is left to do.
        """
        if self.steps == 0 or standard_error is None:
            return self.steps == 0
        target = self.target(variance, slope)
        return steps >= self.steps or (target is not None and standard_error <= target)

    def label(self, averaged: bool, observables: Sequence[str]) -> str:
        """Name the series that an evaluation belongs to: larger `steps` and smaller errors continue the same.

        Args:
            averaged: whether averaged parameters are evaluated.
            observables: names of what is measured besides the energy.

        Returns:
            Text that sets the series apart.
        """
        return ",".join([f"burn_in={self.burn_in}", *["averaged=false"] * (not averaged), *observables])
