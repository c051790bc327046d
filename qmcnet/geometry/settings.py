"""How geometries are relaxed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmcnet.checks import at_least, positive
from qmcnet.optimizers.schedules import MEAN

FORGOTTEN = 4.0
"""Sum of the learning rates at a geometry. The forces that pull water back where its network was carried from have a
quarter of the stiffness of its bonds after .8, and none that is seen after 4; of its bend .8, .5, and .2 after 12."""
FIRST_ORDER_STEPS = 250
"""Steps of an optimiser whose rates are no imaginary time."""
RISING = 0.5
"""Mean of the rate while it rises, over the full one."""


@dataclass(frozen=True)
class RelaxationSettings:
    """How the runs at geometries after the first are made, and how far the first step may go.

    Attributes:
        trust_radius: longest first step, in bohr: root of the sum of the squares of all displacements.
        steps: optimisation steps at each geometry after the first; None for as many as the optimiser needs to forget
            where the network was carried from, as `qmcnet.geometry.settings.steps_to_forget` tells.
        learning_rate: that of these steps, over that of the first run.
        warmup_steps: steps in which it rises.
        evaluation_steps: evaluation steps at a geometry, at first.
        most_evaluation_steps: most of them.
        force_error: standard error of the forces, in hartree/bohr, until which more are made.
    """

    trust_radius: float = 0.3
    steps: int | None = None
    learning_rate: float = 0.5
    warmup_steps: int = 10
    evaluation_steps: int = 200
    most_evaluation_steps: int = 3000
    force_error: float = 2e-3

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a number out of range.
        """
        at_least(1, steps=self.steps)
        at_least(0, warmup_steps=self.warmup_steps)
        at_least(1, evaluation_steps=self.evaluation_steps)
        if self.most_evaluation_steps < self.evaluation_steps:
            raise ValueError(
                f"most_evaluation_steps={self.most_evaluation_steps} must be at least "
                f"evaluation_steps={self.evaluation_steps}"
            )
        positive(trust_radius=self.trust_radius)
        positive(learning_rate=self.learning_rate, force_error=self.force_error)


def steps_to_forget(optimizer: Mapping[str, Any], share: float, warmup_steps: int) -> int:
    """Count the steps of an annealed rate until a network that was carried along forgets where it was.

    What is wrong with a carried network is what moving it left out, and its forces pull back. A natural gradient lets
    that fall off as imaginary time does, which is the sum of its learning rates.

    Args:
        optimizer: settings of the optimiser of the first run, by name.
        share: learning rate of these steps over its.
        warmup_steps: steps in which the rate rises.

    Returns:
        Steps, with those of the warm-up.
    """
    if not is_natural(optimizer):
        return FIRST_ORDER_STEPS
    falling = (FORGOTTEN / (share * optimizer["learning_rate"]) - RISING * warmup_steps) / MEAN
    return warmup_steps + max(1, math.ceil(falling))


def forgotten(optimizer: Mapping[str, Any], steps: int, warmup_steps: int) -> float:
    """Tell how far steps of an annealed rate have let a network forget where it was.

    Args:
        optimizer: its settings by name.
        steps: how many were made; 0 counts as 1.
        warmup_steps: those in which the rate rose.

    Returns:
        1 after as many as `steps_to_forget` counts.
    """
    steps = max(1, steps)
    if not is_natural(optimizer):
        return steps / FIRST_ORDER_STEPS
    full = RISING * min(steps, warmup_steps) + MEAN * max(0, steps - warmup_steps)
    return float(optimizer["learning_rate"] * full / FORGOTTEN)


def is_natural(optimizer: Mapping[str, Any]) -> bool:
    """Tell whether an optimiser is a natural gradient, of which every one has a damping.

    Args:
        optimizer: its settings by name.

    Returns:
        Whether the sum of its learning rates is an imaginary time.
    """
    return {"damping", "learning_rate"} <= {*optimizer}
