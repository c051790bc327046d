"""A quantity measured at several values of a parameter, extrapolated to zero."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

SMALLEST_PROBABILITY = 0.05
"""Of as large a chi^2 by chance, below which a line is not believed."""

NEGLIGIBLE = 1e-6
"""Smallest error over the largest, by which a point counts; a constant has none."""


@dataclass(frozen=True)
class Extrapolation:
    """Value at zero.

    Attributes:
        value: of the fitted polynomial at zero.
        error: its standard error.
        order: degree of the polynomial, 0 of a single point.
        chi2: sum of the squared deviations in standard errors.
        freedom: points less coefficients.
    """

    value: float
    error: float
    order: int
    chi2: float
    freedom: int


def to_zero(places: Sequence[float], values: Sequence[float], errors: Sequence[float]) -> Extrapolation:
    """Fit a line, or a parabola where the line is not believed and there are points enough.

    Args:
        places: positive values of the parameter; of a single one the value stays as it is.
        values: measured there.
        errors: their standard errors, independent of one another.

    Returns:
        The value at zero.
    """
    if len(places) == 1:
        return Extrapolation(values[0], errors[0], 0, 0.0, 0)
    line = _fit(places, values, errors, 1)
    half = torch.tensor([line.freedom / 2, line.chi2 / 2], dtype=torch.float64)
    believed = line.freedom == 0 or float(torch.special.gammaincc(*half)) >= SMALLEST_PROBABILITY
    return line if believed else _fit(places, values, errors, 2)


def amplification(places: Sequence[float]) -> float:
    """Tell how much larger the error at zero is than that of each point, if these are equal and a line is fitted.

    Args:
        places: positive values of the parameter; of a single one there is no line.

    Returns:
        The ratio.
    """
    return _fit(places, [0.0] * len(places), [1.0] * len(places), 1).error if len(places) > 1 else 1.0


def _fit(places: Sequence[float], values: Sequence[float], errors: Sequence[float], order: int) -> Extrapolation:
    x, y, sigma = (np.asarray(numbers, dtype=np.float64) for numbers in (places, values, errors))
    scale, offset = x.max(), y.mean()
    sigma = np.maximum(sigma, NEGLIGIBLE * (sigma.max() or 1.0))
    rows = np.vander(x / scale, order + 1, increasing=True) / sigma[:, None]
    covariance = np.linalg.inv(rows.T @ rows)
    found = covariance @ rows.T @ ((y - offset) / sigma)
    rest = float(np.square(rows @ found - (y - offset) / sigma).sum())
    return Extrapolation(float(found[0] + offset), float(np.sqrt(covariance[0, 0])), order, rest, len(x) - order - 1)
