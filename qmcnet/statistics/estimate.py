"""The mean of a series with an error bar that knows about autocorrelation."""

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from qmcnet.statistics.blocking import MIN_BLOCKS, blocking
from qmcnet.statistics.mixing import r_hat
from qmcnet.statistics.series import centred, moments, validated
from qmcnet.statistics.stationarity import stationarity


@dataclass(frozen=True)
class Estimate:
    """Mean of a series with its error bar and the evidence for it."""

    mean: float
    standard_error: float
    tau: float
    r_hat: float
    n_effective: float
    variance: float
    n_steps: int
    n_walkers: int
    stationary: bool
    reason: str


def estimate(series: ArrayLike, length: int = 1, variance: float | None = None) -> Estimate:
    """Estimate the mean of a series and its standard error sqrt(variance * tau / (T B)).

    The error comes from tau, or from the variance of the means of walkers where that is larger. Tau is sharp but
    blind to slow modes that are a small share of the variance, which Geyer's window cuts off; walkers are
    independent, so their means know of every mode, and scatter by chance by sqrt(2 / B). Blocking of the mean over
    walkers is the guard against dependent walkers: where larger by three times its own chance scatter, it replaces
    the error.

    Args:
        series: (T, B) or (T,).
        length: steps that each entry of the series is the mean of.
        variance: of the samples of single steps; None takes the entries for samples.

    Returns:
        The estimate, in the unit of the series; where `stationary` is False its error is not to be trusted.
    """
    values = validated(series)
    n_entries, n_walkers = values.shape
    deviations = centred(values)
    found = moments(deviations)
    mean_variance = found.mean_variance
    if n_walkers > 1:
        mean_variance = max(mean_variance, float(deviations.mean(axis=0).var(ddof=1)) / n_walkers)
    if n_entries >= 2 * MIN_BLOCKS:
        blocks = blocking(deviations.mean(axis=1))
        chance = 1.0 + 3.0 / math.sqrt(2.0 * (n_entries // blocks.block_length - 1))
        if blocks.standard_error > chance * math.sqrt(mean_variance):
            mean_variance = blocks.standard_error**2
    variance = found.variance if variance is None else variance + mean_variance
    n_samples = values.size * length
    tau = mean_variance * n_samples / variance if mean_variance > 0.0 else 1.0
    verdict = stationarity(values)
    return Estimate(
        mean=float(values.mean()),
        standard_error=math.sqrt(mean_variance),
        tau=tau,
        r_hat=r_hat(values),
        n_effective=n_samples / tau,
        variance=variance,
        n_steps=n_entries * length,
        n_walkers=n_walkers,
        stationary=verdict.stationary,
        reason=verdict.reason,
    )
