"""Running mean and variance with fading memory."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ExponentialMean:
    """Running mean and variance with exponentially fading memory, for the training log.

    Value n + 1 has weight max(0.001, 1 / (2 + 0.1 (n - 1))), DeepQMC's schedule: memory up to 1000 values.
    The first value seeds the mean, with zero variance. Non-finite values propagate: keep a state to go back.
    """

    mean: float = math.nan
    variance: float = math.nan
    count: int = 0

    def update(self, value: float) -> "ExponentialMean":
        """Return the state after one more value."""
        if self.count == 0:
            return replace(self, mean=float(value), variance=0.0, count=1)
        weight = max(0.001, 1.0 / (2.0 + 0.1 * (self.count - 1)))
        change = float(value) - self.mean
        variance = (1.0 - weight) * (self.variance + weight * change**2)
        return replace(self, mean=self.mean + weight * change, variance=variance, count=self.count + 1)
