"""Whether a series may be averaged: long enough, without drift, its walkers mixed.

References:
    Vehtari et al., Bayesian Anal. 16, 667 (2021), doi:10.1214/20-BA1221: split R-hat.
    Geweke, in Bayesian Statistics 4, 169 (1992): first part against last part.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qmcnet.statistics.series import Array, centred, moments, validated

MIN_LENGTH = 10.0  # autocorrelation times a stationary series must span
MAX_DRIFT = 3.0  # standard errors; two tests at 3 sigma refuse under 1 % of stationary series
MAX_R_HAT = 1.1  # what stationary chains of 10 tau give


@dataclass(frozen=True)
class Stationarity:
    """Verdict: `drift` in standard errors (NaN if unknown), `reason` names every failed test."""

    stationary: bool
    drift: float
    reason: str


def r_hat(series: ArrayLike) -> float:
    """Compute split R-hat = sqrt(1 - 1/n + B / (n W)) over the half-chains of all walkers.

    Args:
        series: (T, B) or (T,).

    Returns:
        About sqrt(1 + 2 tau / T) if all half-chains sample one distribution; NaN for fewer than four steps.
    """
    values = validated(series)
    half = len(values) // 2
    if half < 2:
        return math.nan
    shifted = values - values[0, 0]
    chains = np.concatenate([shifted[:half], shifted[-half:]], axis=1)  # (T/2, 2B)
    within = chains.var(axis=0, ddof=1).mean()
    between = chains.mean(axis=0).var(ddof=1)
    if within <= 0.0:
        return math.inf if between > 0.0 else 1.0
    return math.sqrt(1.0 - 1.0 / half + between / within)


def _drift(values: Array) -> tuple[float, float]:
    """Return the larger of trend and Geweke statistics, and the autocorrelation time about the trend."""
    n_steps = len(values)
    deviations = centred(values)
    time = np.arange(n_steps) - (n_steps - 1) / 2.0
    trend = time / (time @ time)
    first, half = n_steps // 10, n_steps // 2
    geweke = np.zeros(n_steps)
    geweke[:first], geweke[-half:] = -1.0 / first, 1.0 / half
    mean = deviations.mean(axis=1)  # (T,)
    mean_variance, variance = moments(deviations - ((trend @ mean) * time)[:, None])
    if variance <= 0.0:
        return (math.inf if np.any(mean) else 0.0), 1.0
    scores = [float(w @ mean) / math.sqrt(mean_variance * n_steps * (w @ w)) for w in (trend, geweke)]
    return max(scores, key=abs), mean_variance * values.size / variance


def stationarity(series: ArrayLike) -> Stationarity:
    """Judge whether a series may be averaged: long enough, without drift, walkers mixed.

    A series is refused if it spans fewer than 10 tau, if its linear trend or the difference between its last
    half and first tenth exceeds 3 standard errors, or if R-hat exceeds 1.1 (more for fewer than 16 walkers,
    whose half-chain means scatter by chance). Tau is taken about the trend: no drift hides in its own error.

    Args:
        series: (T, B) or (T,).

    Returns:
        The verdict.
    """
    values = validated(series)
    n_steps, n_walkers = values.shape
    if n_steps < MIN_LENGTH:
        return Stationarity(False, math.nan, f"too short: {n_steps} steps, at least {MIN_LENGTH:g} needed")
    drift, tau = _drift(values)
    needed, mixing = MIN_LENGTH * tau, r_hat(values)
    limit = math.sqrt(1.0 + (MAX_R_HAT**2 - 1.0) * max(1.0, 0.5 + 2.0 / math.sqrt(n_walkers - 0.5)))
    checks = (
        (n_steps < needed, f"too short: {n_steps} steps, {MIN_LENGTH:g} tau are {needed:.0f}"),
        (abs(drift) > MAX_DRIFT, f"drift of {drift:+.1f} standard errors, limit {MAX_DRIFT:g}"),
        (mixing > limit, f"walkers have not mixed: R-hat {mixing:.3f}, limit {limit:.3f}"),
    )
    reason = "; ".join(text for failed, text in checks if failed)
    return Stationarity(not reason, drift, reason)
