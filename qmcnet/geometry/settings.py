"""How geometries are relaxed."""

from dataclasses import dataclass

from qmcnet.checks import at_least, positive


@dataclass(frozen=True)
class RelaxationSettings:
    """How the runs at geometries after the first are made, and how far the first step may go.

    Attributes:
        trust_radius: longest first step, in bohr: root of the sum of the squares of all displacements.
        steps: optimisation steps at each geometry after the first. What a network that was carried along remembers of
            where it was, to which its forces pull back, falls off with the sum of the learning rates.
        learning_rate: that of these steps, over that of the first run.
        warmup_steps: steps in which it rises.
        evaluation_steps: evaluation steps at a geometry, at first.
        most_evaluation_steps: most of them.
        force_error: standard error of the forces, in hartree/bohr, until which more are made.
    """

    trust_radius: float = 0.3
    steps: int = 250
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
