"""How far an energy is above that of an eigenstate, from the line that energy and variance follow together.

As a wavefunction nears an eigenstate, its variance vanishes as fast as its distance in energy does:
E = E_0 + c variance, with c the inverse of a mean excitation energy. A training that ends with a falling rate walks
along this line; where it does so too briefly for the slope to show, what is known of slopes beforehand fills in.

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
    """What is known of the slope c of the line before a run, as a log-normal distribution.

    Attributes:
        median: of c, in 1/hartree.
        spread: standard deviation of ln c.
    """

    median: float
    spread: float


SLOPE = Slope(0.06, 0.5)
"""Of networks for atoms and molecules of the first rows."""


@dataclass(frozen=True)
class Line:
    """What a run says of the line.

    Attributes:
        slope: c, in 1/hartree.
        relative_error: standard deviation of ln c.
    """

    slope: float
    relative_error: float

    def distance(self, variance: float) -> tuple[float, float]:
        """Tell how far the energy of a wavefunction is above that of the eigenstate.

        Args:
            variance: of its local energy, in hartree^2.

        Returns:
            The distance and one standard deviation of it, in hartree.
        """
        return self.slope * variance, self.slope * variance * math.expm1(self.relative_error)


N_TRIED = 2001
WIDEST = 4.0


def fit(energies: Sequence[float], errors: Sequence[float], variances: Sequence[float], prior: Slope) -> Line:
    """Fit the line to points of one run.

    The intercept is integrated out, and so the posterior distribution of ln c is one-dimensional and is summed on a
    grid. Errors are stretched where the points scatter more about the best line than they say.

    Args:
        energies: mean energies, in hartree.
        errors: one standard error of each, in hartree.
        variances: of the local energy at each, in hartree^2.
        prior: what is known of the slope.

    Returns:
        The line; what was known of the slope where there are fewer than two points.
    """
    logs = math.log(prior.median) + prior.spread * np.linspace(-WIDEST, WIDEST, N_TRIED)
    exponents = -0.5 * ((logs - math.log(prior.median)) / prior.spread) ** 2
    if len(energies) > 1:
        y, x, w = np.asarray(energies), np.asarray(variances), np.asarray(errors) ** -2.0
        y, x = y - np.average(y, weights=w), x - np.average(x, weights=w)
        residuals = ((y - np.exp(logs)[:, None] * x) ** 2 * w).sum(-1)  # after the best intercept for each slope
        free = (w * x * y).sum() / max((w * x * x).sum(), np.finfo(float).tiny)
        stretched = max(1.0, ((y - free * x) ** 2 * w).sum() / max(len(y) - 2, 1))
        exponents = exponents - 0.5 * residuals / stretched
    weights = np.exp(exponents - exponents.max())
    weights /= weights.sum()
    mean = float(weights @ logs)
    return Line(math.exp(mean), float(np.sqrt(weights @ (logs - mean) ** 2)))


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
