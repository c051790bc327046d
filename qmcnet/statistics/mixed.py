"""The mixed estimator of diffusion Monte Carlo with a fixed number of walkers.

Keeping the number of walkers biases averages, by the product of the mean weights that were divided out; multiplying by
those of a window of past generations takes the bias away, all but what is older than the window.

References:
    Umrigar, Nightingale, Runge, J. Chem. Phys. 99, 2865 (1993), doi:10.1063/1.465195 (their Eq. 15).
    Buonocore and Sorella, Phys. Rev. B 57, 11446 (1998), doi:10.1103/PhysRevB.57.11446.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qmcnet.statistics.estimate import Estimate, estimate
from qmcnet.statistics.series import centred, moments

SHARES = (0.0, 0.125, 0.25, 0.5)
"""Shares of a series that may be left out at its start."""
STARTS = (16, 8, 4)
"""A sixteenth, an eighth and a quarter of what is left must agree with its last half."""
MAX_DRIFT = 3.0
"""Standard errors by which they may differ."""


def reweighting(log_weights: ArrayLike, window: int) -> NDArray[np.float64]:
    """Multiply the mean weights of the generations up to each one, within a window.

    Args:
        log_weights: logarithm of the mean weight that was divided out in each generation, shape (T,).
        window: generations that count, the last one included; 0 gives ones.

    Returns:
        Factors with a mean of one, shape (T,).
    """
    total = np.concatenate([[0.0], np.cumsum(np.asarray(log_weights, dtype=np.float64))])
    last = np.arange(1, len(total))
    logs = total[last] - total[np.maximum(last - window, 0)]
    factors = np.exp(logs - logs.max())
    return np.asarray(factors / factors.mean(), dtype=np.float64)


def mixed(values: ArrayLike, log_weights: ArrayLike, window: int, discarded: int = 0) -> Estimate:
    """Estimate the mean of a quantity over weighted generations.

    Args:
        values: mean over the walkers of each generation, shape (T,).
        log_weights: logarithm of the mean weight that was divided out in each generation, shape (T,).
        window: generations whose weights count.
        discarded: generations to leave out at the start.

    Returns:
        The estimate, in the unit of the values; its error knows that generations descend from one another.
    """
    factors = reweighting(log_weights, window)[discarded:]
    kept = np.asarray(values, dtype=np.float64)[discarded:]
    factors = factors / factors.mean()
    mean = float((factors * kept).mean())
    return replace(estimate(mean + factors * (kept - mean)), mean=mean)


def equilibrated(values: ArrayLike, log_weights: ArrayLike, window: int, least: int = 0) -> tuple[int, Estimate]:
    """Estimate the mean over the longest part of a series, up to its end, that is stationary.

    Args:
        values: mean over the walkers of each generation, shape (T,).
        log_weights: logarithm of the mean weight that was divided out in each generation, shape (T,).
        window: generations whose weights count.
        least: generations to leave out at the start in any case, if there are twice as many.

    Returns:
        Generations left out at the start, and the estimate; of the last half if no part is stationary.
    """
    whole = np.asarray(values, dtype=np.float64)
    for share in SHARES:
        discarded = max(round(share * len(whole)), min(least, len(whole) // 2))
        found = mixed(whole, log_weights, window, discarded)
        if found.stationary and settled(whole[discarded:]):
            break
    return discarded, found


def pooled(parts: Sequence[Estimate]) -> Estimate:
    """Estimate a mean from several independent series, each counting by its length.

    Args:
        parts: estimates of the same mean, one or more; those of series that are not stationary are left out where there
            are others.

    Returns:
        The estimate.
    """
    kept = [part for part in parts if part.stationary] or list(parts)
    shares = np.array([part.n_steps for part in kept]) / sum(part.n_steps for part in kept)
    means, errors, taus = (
        np.array([getattr(part, name) for part in kept]) for name in ("mean", "standard_error", "tau")
    )
    return replace(
        kept[0],
        mean=float(shares @ means),
        standard_error=float(np.sqrt(np.square(shares * errors).sum())),
        tau=float(shares @ taus),
        n_effective=sum(part.n_effective for part in kept),
        n_steps=sum(part.n_steps for part in kept),
    )


def settled(values: NDArray[np.float64]) -> bool:
    """Tell whether a series begins as it ends; its own scatter would hide a steep start, that of its end does not.

    Args:
        values: shape (T,).

    Returns:
        Whether means over the start agree with that of the last half.
    """
    end = values[len(values) // 2 :]
    noise = moments(centred(end[:, None])).mean_variance * len(end)  # of a single entry, correlation included
    starts = [values[: max(len(values) // part, 1)] for part in STARTS]
    drifts = [(start.mean() - end.mean()) ** 2 / (1 / len(start) + 1 / len(end)) for start in starts]
    return bool(max(drifts) <= MAX_DRIFT**2 * noise)
