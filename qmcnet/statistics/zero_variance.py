"""How far an energy is above that of an eigenstate, from the line that energy and variance follow together.

As a wavefunction nears an eigenstate, its variance vanishes as fast as its distance in energy does:
E = E_0 + c variance, with c the inverse of a mean excitation energy. A training that ends with a falling rate walks
along such a line, but what fades then is mostly the noise of its steps; what is left has a slope of its own. So the
line of a run is trusted within a factor, and combined with what is known of slopes beforehand.

References:
    Kwon, Ceperley, Martin, Phys. Rev. B 48, 12037 (1993), doi:10.1103/PhysRevB.48.12037 (extrapolation to zero
    variance); Fu, Ren, Chen, Mach. Learn.: Sci. Technol. 5, 015016 (2024), doi:10.1088/2632-2153/ad1f75 (of neural
    wavefunctions).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CHEMICAL_ACCURACY = 1.6e-3
"""Hartree; one kcal/mol."""

POWER = 0.5
"""Variances of networks at the end of a schedule, and so distances, fall with this power of the number of steps."""

FURTHEST, NEAREST = 4.0, 1.25
"""Times as many steps as a run has had for which the law is trusted, and which are worth to be made."""


@dataclass(frozen=True)
class Slope:
    """What is known of the slope c of the line, as a log-normal distribution.

    Attributes:
        median: of c, in 1/hartree.
        spread: standard deviation of ln c.
    """

    median: float
    spread: float

    def distance(self, variance: float) -> tuple[float, float, float]:
        """Tell how far the energy of a wavefunction is above that of the eigenstate.

        Args:
            variance: of its local energy, in hartree^2.

        Returns:
            The distance, and the ends of an interval that holds it with a probability of 80 %, in hartree.
        """
        middle, factor = self.median * variance, math.exp(NINE_TENTHS * self.spread)
        return middle, middle / factor, middle * factor


SPREAD = 0.5
"""Standard deviation of ln(c scale) among trained networks; see `benchmarks/README.md`."""
SYSTEMATIC = 0.7
"""Standard deviation of ln c between the line that a falling rate walks along and what is left at its end."""
NINE_TENTHS = 1.2816
"""Quantile of the normal distribution."""
N_TRIED, WIDEST = 401, 5.0
"""Slopes that are tried, up to how many of its spreads from the median of the prior distribution."""


def expected(scale: float) -> Slope:
    """Tell what is known of the slope before a run.

    Args:
        scale: mean excitation energy of what a wavefunction lacks, in hartree.

    Returns:
        The slope, about the inverse of the scale.
    """
    return Slope(1 / scale, SPREAD)


def fit(energies: Sequence[float], errors: Sequence[float], variances: Sequence[float], prior: Slope) -> Slope:
    """Fit the line to points of one run.

    The intercept is integrated out, and so the distribution of ln c is one-dimensional and is summed on a grid. Errors
    are stretched where the points scatter more about the best line than they say.

    Args:
        energies: mean energies, in hartree.
        errors: one standard error of each, in hartree.
        variances: of the local energy at each, in hartree^2.
        prior: what is known of the slope.

    Returns:
        What is known then; the same as before where there are fewer than two points.
    """
    if len(energies) < 2:
        return prior
    away = prior.spread * np.linspace(-WIDEST, WIDEST, N_TRIED)
    y, x, w = np.asarray(energies), np.asarray(variances), np.asarray(errors) ** -2.0
    y, x = y - np.average(y, weights=w), x - np.average(x, weights=w)
    residuals = ((y - prior.median * np.exp(away)[:, None] * x) ** 2 * w).sum(-1)  # with the best intercept for each
    free = (w * x * y).sum() / max((w * x * x).sum(), np.finfo(float).tiny)
    stretched = max(1.0, ((y - free * x) ** 2 * w).sum() / max(len(y) - 2, 1))
    line = np.exp(-0.5 * (residuals - residuals.min()) / stretched)
    line = np.exp(-0.5 * ((away[:, None] - away) / SYSTEMATIC) ** 2) @ line
    weights = line * np.exp(-0.5 * (away / prior.spread) ** 2)
    weights /= weights.sum()
    mean = float(weights @ away)
    return Slope(prior.median * math.exp(mean), float(np.sqrt(weights @ (away - mean) ** 2)))


def steps_for(accuracy: float, distance: float, steps: int) -> int:
    """Tell how many steps a schedule should have to come nearer.

    Args:
        accuracy: distance asked for, in hartree.
        distance: after `steps`, in hartree.
        steps: made so far.

    Returns:
        Steps in all, with two digits: up to four times as many as so far.
    """
    wanted = steps * min(FURTHEST, max(NEAREST, (distance / accuracy) ** (1 / POWER)))
    unit = 10 ** max(0, math.floor(math.log10(wanted)) - 1)
    return math.ceil(wanted / unit) * unit
