"""Whether a series may be averaged: long enough, without drift, its walkers mixed.

References:
    Geweke, in Bayesian Statistics 4, 169 (1992): first part against last part.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from qmcnet.statistics.mixing import mixing
from qmcnet.statistics.series import Array, centred, moments, validated

MIN_LENGTH = 10.0  # autocorrelation times a stationary series must span
MAX_DRIFT = 3.0  # standard errors; two tests at 3 sigma refuse under 1 % of stationary series


@dataclass(frozen=True)
class Stationarity:
    """Verdict: `drift` in standard errors (NaN if unknown), `reason` names every failed test."""

    stationary: bool
    drift: float
    reason: str


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
    found = moments(deviations - ((trend @ mean) * time)[:, None])
    if found.variance <= 0.0:
        return (math.inf if np.any(mean) else 0.0), 1.0
    scores = [float(w @ mean) / math.sqrt(found.mean_variance * n_steps * (w @ w)) for w in (trend, geweke)]
    return max(scores, key=abs), found.mean_variance * values.size / found.variance


def stationarity(series: ArrayLike) -> Stationarity:
    """Judge whether a series may be averaged: long enough, without drift, walkers mixed.

    A series is refused if it spans fewer than 10 tau, if its linear trend or the difference between its last
    half and first tenth exceeds 3 standard errors, or if R-hat exceeds what the autocorrelation of single walkers
    lets expect. Tau is taken about the trend: no drift hides in its own error.

    Args:
        series: (T, B) or (T,).

    Returns:
        The verdict.
    """
    values = validated(series)
    n_steps = len(values)
    if n_steps < MIN_LENGTH:
        return Stationarity(False, math.nan, f"too short: {n_steps} steps, at least {MIN_LENGTH:g} needed")
    drift, tau = _drift(values)
    needed = MIN_LENGTH * tau
    apart = next((found for found in mixing(values) if found.r_hat > found.limit), None)
    checks = (
        (n_steps < needed, f"too short: {n_steps / tau:.1f} autocorrelation times, {MIN_LENGTH:g} needed"),
        (abs(drift) > MAX_DRIFT, f"drift of {drift:+.1f} standard errors, limit {MAX_DRIFT:g}"),
        (apart is not None, f"walkers have not mixed: {apart}"),
    )
    reason = "; ".join(text for failed, text in checks if failed)
    return Stationarity(not reason, drift, reason)
