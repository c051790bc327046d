"""Learning rates as functions of the step."""

import math
from dataclasses import dataclass

from qmcnet.checks import at_least, one_of, positive


def inverse(step: float, steps: float) -> float:
    """Fall as 1 / (1 + step / steps), as in FermiNet and SPRING.

    Args:
        step: updates made so far.
        steps: updates after which the rate has halved.

    Returns:
        Share of the initial rate.
    """
    return 1 / (1 + step / steps)


def cosine(step: float, steps: float) -> float:
    """Fall along half a cosine to zero.

    Args:
        step: updates made so far.
        steps: updates after which the rate is zero.

    Returns:
        Share of the initial rate.
    """
    return 0.5 * (1 + math.cos(math.pi * min(step / steps, 1)))


STABLE = 0.35
"""Share of the steps before the rate of `annealed` begins to fall."""
MEAN = (1 + STABLE) / 2
"""Share of the initial rate that `annealed` has on average."""


def annealed(step: float, steps: float) -> float:
    """Stay for a third of the steps, then fall in equal parts to zero: "warm-up, stable, decay".

    What a constant rate shakes up settles while the rate falls, and a run that is extended goes back to the constant
    part (Hägele et al., NeurIPS 2024, arXiv:2405.18392).

    Args:
        step: updates made so far.
        steps: updates after which the rate is zero.

    Returns:
        Share of the initial rate.
    """
    return min(1.0, max(0.0, (1 - step / steps) / (1 - STABLE)))


def constant(step: float, steps: float) -> float:
    """Stay.

    Args:
        step: updates made so far.
        steps: not used.

    Returns:
        One.
    """
    return 1.0


def warm_up(step: float, steps: float) -> float:
    """Rise in equal parts to one.

    Args:
        step: updates made so far.
        steps: updates until the full rate; 0 starts with it.

    Returns:
        Share of the full rate.
    """
    return min(1.0, (step + 1) / steps) if steps else 1.0


DECAYS = {"annealed": annealed, "constant": constant, "cosine": cosine, "inverse": inverse}


@dataclass(frozen=True)
class Schedule:
    """Share of its learning rate that an optimiser uses at a step: a warm-up, then a decay.

    Attributes:
        decay: 'inverse', 'annealed', 'cosine' or 'constant'.
        decay_steps: updates after the warm-up in which the rate halves ('inverse') or ends ('annealed', 'cosine'); None
            for all that are planned.
        warmup_steps: updates in which the rate rises to its full value.
    """

    decay: str = "inverse"
    decay_steps: float | None = 10_000
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for an unknown decay or a number out of range.
        """
        one_of(DECAYS, decay=self.decay)
        positive(decay_steps=self.decay_steps)
        at_least(0, warmup_steps=self.warmup_steps)

    def __call__(self, step: int, planned: int) -> float:
        """Evaluate the schedule.

        Args:
            step: updates made so far.
            planned: updates that the run makes.

        Returns:
            Share of the learning rate.
        """
        decay_steps = self.decay_steps or max(1, planned - self.warmup_steps)
        return warm_up(step, self.warmup_steps) * DECAYS[self.decay](max(0, step - self.warmup_steps), decay_steps)
