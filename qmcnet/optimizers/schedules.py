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


DECAYS = {"constant": constant, "cosine": cosine, "inverse": inverse}


@dataclass(frozen=True)
class Schedule:
    """Share of its learning rate that an optimiser uses at a step: a warm-up, then a decay.

    Attributes:
        decay: 'inverse', 'cosine' or 'constant'.
        decay_steps: updates after the warm-up in which the rate halves ('inverse') or ends ('cosine').
        warmup_steps: updates in which the rate rises to its full value.
    """

    decay: str = "inverse"
    decay_steps: float = 10_000
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for an unknown decay or a number out of range.
        """
        one_of(DECAYS, decay=self.decay)
        positive(decay_steps=self.decay_steps)
        at_least(0, warmup_steps=self.warmup_steps)

    def __call__(self, step: int) -> float:
        """Evaluate the schedule.

        Args:
            step: updates made so far.

        Returns:
            Share of the learning rate.
        """
        decayed = DECAYS[self.decay](max(0, step - self.warmup_steps), self.decay_steps)
        return warm_up(step, self.warmup_steps) * decayed
