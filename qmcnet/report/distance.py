"""How far a result may be above the energy of the state, in numbers and in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qmcnet.statistics.zero_variance import CHEMICAL_ACCURACY, POWER, Slope, fit, steps_for
from qmcnet.words import duration

FLAT = 0.9
"""Ratio of the last variance to the first of the late part of a training, from which on more steps hardly help."""


@dataclass(frozen=True)
class Distance:
    """Energy above that of the state that a training strives for.

    Attributes:
        value: in hartree.
        lower: it is above this with a probability of 90 %, in hartree.
        upper: it is below this with a probability of 90 %, in hartree.
        slope: of the line of energies against variances, in 1/hartree.
        variance: typical one of the local energy, in hartree^2.
        falling: whether the variance was still falling.
        steps: of the optimisation so far.
        more_steps: steps in all that should bring it to chemical accuracy, or four times as many as so far; None where
            it is there, or where more steps hardly help.
        expected: distance then, in hartree.
    """

    value: float
    lower: float
    upper: float
    slope: float
    variance: float
    falling: bool
    steps: int
    more_steps: int | None = None
    expected: float | None = None

    def words(self, of_several: bool, pace: float | None = None) -> str:
        """Say it in one line.

        Args:
            of_several: whether the energy is the sum of those of several states.
            pace: seconds of an optimisation step; None where none was measured.

        Returns:
            Text such as 'not converged    about 9 mHa (5 to 16) above the exact energy of the state; ...'.
        """
        verdict, text = self.verdict(of_several, pace)
        return f"{verdict:<16} {text}"

    def verdict(self, of_several: bool, pace: float | None = None) -> tuple[str, str]:
        """Say whether it is near, and how near.

        Args:
            of_several: whether the energy is the sum of those of several states.
            pace: seconds of an optimisation step; None where none was measured.

        Returns:
            'converged' or 'not converged', and 'about 9 mHa (5 to 16) above the exact energy of the state; ...'.
        """
        what = "the sum of the exact energies" if of_several else "the exact energy of the state"
        value, lower, upper = (f"{1e3 * energy:.2g}" for energy in (self.value, self.lower, self.upper))
        where = f"about {value} mHa ({lower} to {upper}) above {what}"
        if self.value <= CHEMICAL_ACCURACY:
            probably = "" if self.upper <= CHEMICAL_ACCURACY else "probably "
            return "converged", f"{where}, {probably}within chemical accuracy"
        if self.more_steps is None or self.expected is None:
            why = "its variance has stopped falling: more steps hardly help, a larger network may"
            return "not converged", f"{where}; {why}"
        steps = self.more_steps - self.steps
        time = "" if pace is None else f" ({duration(pace * steps)})"
        more = f"{steps} more steps{time} should bring {1e3 * self.expected:.2g} mHa"
        return "not converged", f"{where}; {more}: steps={self.more_steps}"


def measure(learned: Mapping[str, Any], evaluated: Mapping[str, Any], steps: int, slope: Slope) -> Distance | None:
    """Estimate the distance at the end of a run.

    Args:
        learned: what the optimisation found: `energies`, `errors` and `variances` of its late part, maybe none.
        evaluated: what the evaluation found: `energy`, `standard_error`, `variance` and `typical_variance`.
        steps: optimisation steps made.
        slope: what is known of the line of energies against variances before a run.

    Returns:
        The distance; None without an energy, or of a wavefunction that was not trained.
    """
    energy, error, variance = (evaluated[name] for name in ("energy", "standard_error", "typical_variance"))
    if energy is None or not error or not steps or not math.isfinite(variance):
        return None
    energies, errors, variances = (list(learned.get(name, ())) for name in ("energies", "errors", "variances"))
    line = fit([*energies, energy], [*errors, error], [*variances, variance], slope)
    value, lower, upper = line.distance(variance)
    # Rare walkers far above all others may count for the energy as much as for the variance, or hardly, as near nodes.
    rare = max(1.0, evaluated["variance"] / variance)
    value, upper = value * math.sqrt(rare), upper * rare
    falling = not variances or variances[-1] < FLAT * variances[0]
    known = (value, lower, upper, line.median, variance, falling, steps)
    if value <= CHEMICAL_ACCURACY or not falling:
        return Distance(*known)
    total = steps_for(CHEMICAL_ACCURACY, value, steps)
    return Distance(*known, total, value * (steps / total) ** POWER)
