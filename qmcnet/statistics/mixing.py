"""Whether walkers sample one distribution: rank-normalised split R-hat, and the limit that autocorrelation sets it.

References:
    Vehtari, Gelman, Simpson, Carpenter, Buerkner, Bayesian Anal. 16, 667 (2021), doi:10.1214/20-BA1221.
    Wilson, Hilferty, Proc. Natl. Acad. Sci. 17, 684 (1931), doi:10.1073/pnas.17.12.684: quantiles of chi-square.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from qmcnet.statistics.series import Array, moments, validated

CHANCE = 3.3  # normal quantile; two tests refuse one stationary series in a thousand


@dataclass(frozen=True)
class Mixing:
    """R-hat of the ranks of a series, or of the ranks of its distances from the median.

    Attributes:
        r_hat: sqrt(1 - 1/n + B / (n W)), with the variance B / n of means and W within half-chains of n steps.
        limit: largest value that autocorrelation and chance explain; NaN, as `r_hat`, for fewer than four steps.
    """

    r_hat: float
    limit: float

    def __str__(self) -> str:
        """Say both numbers."""
        return f"R-hat {self.r_hat:.4f}, limit {self.limit:.4f}"


def r_hat(series: ArrayLike) -> float:
    """Compute rank-normalised split R-hat, the larger of that of values and of distances from the median.

    Args:
        series: (T, B) or (T,).

    Returns:
        About sqrt(1 + 2 (tau - 1) / T) if all half-chains sample one distribution; NaN for fewer than four steps.
    """
    return max(found.r_hat for found in mixing(series))


def mixing(series: ArrayLike) -> tuple[Mixing, Mixing]:
    """Compare the walkers of a series.

    Means of half-chains of one distribution have the variance that the autocorrelation within walkers predicts. The
    limit is the R-hat of a larger variance that chance gives one series in a thousand, which depends on the number of
    walkers. Slow modes that the walkers do not cross in the time of the series are in no autocorrelation within
    walkers, and exceed it.

    Args:
        series: (T, B) or (T,).

    Returns:
        R-hat of the ranks, for places, and of the ranks of distances from the median, for scales and tails.
    """
    values = validated(series)
    return _compare(normal_scores(values)), _compare(normal_scores(np.abs(values - np.median(values))))


def normal_scores(values: Array) -> Array:
    """Replace numbers by the normal quantiles of their ranks, ties by those of their mean rank.

    Args:
        values: any shape.

    Returns:
        The same shape.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    scores = torch.special.ndtri(torch.from_numpy((ranks - 0.375) / (values.size + 0.25))).numpy()
    found: Array = scores[place].reshape(values.shape)
    return found


def _compare(values: Array) -> Mixing:
    n_steps, n_walkers = values.shape
    half = n_steps // 2
    if half < 2:
        return Mixing(math.nan, math.nan)
    chains = np.concatenate([values[:half], values[-half:]], axis=1)  # (T/2, 2B)
    within = chains.var(axis=0, ddof=1).mean()
    between = chains.mean(axis=0).var(ddof=1)
    if within <= 0.0:
        return Mixing(math.inf if between > 0.0 else 1.0, 1.0)
    walker = moments(values - values.mean(axis=0), n_walkers)
    share = 2.0 / 9.0 * (1.0 / (2 * n_walkers - 1) + walker.uncertainty)
    chance = (1.0 - share + CHANCE * math.sqrt(share)) ** 3
    expected = 2.0 * walker.mean_variance
    r_hat, limit = (math.sqrt(1.0 - 1.0 / half + variance / within) for variance in (between, chance * expected))
    return Mixing(r_hat, limit)
