"""Error bars for Markov-chain series: autocorrelation, blocking, mixing, stationarity.

A series is an array (T, B): T recorded steps of B independent walkers, in any unit; (T,) means B = 1. The
autocorrelation time is tau = 1 + 2 sum_t rho_t in recorded steps, so tau = 1 for independent samples.

References:
    Geyer, Statist. Sci. 7, 473 (1992), doi:10.1214/ss/1177011137: initial monotone positive sequence.
    Wolff, Comput. Phys. Commun. 156, 143 (2004), doi:10.1016/S0010-4655(03)00467-3: bias of the window sum.
    Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480: blocking.
    Lee et al., Phys. Rev. E 83, 066706 (2011), doi:10.1103/PhysRevE.83.066706: choice of the block.
    Vehtari et al., Bayesian Anal. 16, 667 (2021), doi:10.1214/20-BA1221: split R-hat.
    Geweke, in Bayesian Statistics 4, 169 (1992): first part against last part.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MIN_LENGTH = 10.0  # autocorrelation times a stationary series must span
MAX_DRIFT = 3.0  # standard errors; two tests at 3 sigma refuse under 1 % of stationary series
MAX_R_HAT = 1.1  # what stationary chains of 10 tau give
MIN_BLOCKS = 8  # fewer blocks leave the error itself unknown by more than a quarter
FFT_SAMPLES = 1 << 22  # samples transformed at once: bounds the memory of a long run


@dataclass(frozen=True)
class Blocking:
    """Standard error of a mean from blocks; a level is (block_length, standard_error, error_of_error)."""

    standard_error: float
    block_length: int
    error_of_error: float
    levels: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class Stationarity:
    """Verdict: `drift` in standard errors (NaN if unknown), `reason` names every failed test."""

    stationary: bool
    drift: float
    reason: str


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


def _validated(series: ArrayLike) -> Array:
    values = np.asarray(series, dtype=np.float64)
    if values.ndim not in (1, 2) or values.size < 2:
        raise ValueError(f"series has shape {values.shape}; allowed: (T, B) or (T,), two samples or more")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"series must be finite: {len(bad)} samples are not, the first at {bad[0].tolist()}")
    return values.reshape(len(values), -1)


def _centred(values: Array) -> Array:
    shifted: Array = values - values[0, 0]  # a constant series becomes exactly zero, not rounding noise
    shifted -= shifted.mean()
    return shifted


def _autocovariance(centred: Array) -> Array:
    n_steps, n_walkers = centred.shape
    padded = 1 << (2 * n_steps - 1).bit_length()
    power = np.zeros(padded // 2 + 1)
    chunk = max(1, FFT_SAMPLES // padded)
    for start in range(0, n_walkers, chunk):
        amplitude = np.fft.rfft(centred[:, start : start + chunk], padded, axis=0)
        power += np.sum(amplitude.real**2 + amplitude.imag**2, axis=1)
    return np.asarray(np.fft.irfft(power, padded)[:n_steps] / (n_steps * n_walkers), dtype=np.float64)


def _moments(centred: Array) -> tuple[float, float]:
    """Return the variance of the mean and the variance of a sample.

    The sum of 1/T-normalised autocovariances ends where Geyer's pairs turn non-positive. Subtracting the mean
    lowers every term by about v, the variance of the mean; solving for v divides by 1 - weight / (T B), with
    the weight of the window: Wolff's correction for one chain, B / (B - 1) for a window of T.
    """
    n_steps = len(centred)
    covariance = _autocovariance(centred)
    pairs = np.append(covariance, np.zeros(n_steps % 2)).reshape(-1, 2).sum(axis=1)  # (T/2,)
    negative = np.flatnonzero(pairs <= 0.0)
    n_pairs = max(1, negative[0]) if negative.size else len(pairs)
    window_sum = 2.0 * np.minimum.accumulate(pairs[:n_pairs]).sum() - covariance[0]
    weight = 1.0 + 2.0 * np.sum(1.0 - np.arange(1, min(2 * n_pairs, n_steps)) / n_steps)
    floor = covariance[0] / max(1.0, math.log10(centred.size))  # anticorrelated chains: tau stays positive
    mean_variance = max(window_sum / max(0.5, 1.0 - weight / centred.size), floor) / centred.size
    return float(mean_variance), float(covariance[0] + mean_variance)


def integrated_autocorrelation_time(series: ArrayLike) -> float:
    """Estimate tau = 1 + 2 sum_t rho_t with Geyer's initial monotone positive sequence.

    Autocovariances are taken about the mean over all walkers: a walker stuck elsewhere raises tau. The floor
    1 / log10(T B) bounds the gain from anticorrelation.

    Args:
        series: (T, B) or (T,).

    Returns:
        Autocorrelation time in recorded steps; 1 for a constant series.
    """
    values = _validated(series)
    mean_variance, variance = _moments(_centred(values))
    return mean_variance * values.size / variance if variance > 0.0 else 1.0


def blocking(series: ArrayLike) -> Blocking:
    """Estimate the error of the mean by averaging over blocks of doubling length.

    The block is the shortest with length^3 > 2 T (s / s_0)^4, s and s_0 being the standard errors at this and
    at unit length. If none has, the largest error with at least eight blocks is taken, a lower bound.

    Args:
        series: (T,).

    Returns:
        Standard error with the chosen block length and its own uncertainty.

    Raises:
        ValueError: If the series is not one chain.
    """
    values = _validated(series)
    if values.shape[1] != 1:
        raise ValueError(f"series has shape {values.shape}; expected (T,): average over walkers")
    blocks = _centred(values)[:, 0]
    levels: list[tuple[int, float, float]] = []
    length = 1
    while not levels or len(blocks) >= MIN_BLOCKS:
        error = math.sqrt(blocks.var(ddof=1) / len(blocks))
        levels.append((length, error, error / math.sqrt(2.0 * (len(blocks) - 1))))
        blocks = blocks[: len(blocks) // 2 * 2].reshape(-1, 2).mean(axis=1)
        length *= 2
    long_enough = (row for row in levels if row[0] ** 3 * levels[0][1] ** 4 > 2.0 * len(values) * row[1] ** 4)
    chosen = next(long_enough, max(levels, key=lambda row: row[1]))
    return Blocking(chosen[1], chosen[0], chosen[2], tuple(levels))


def r_hat(series: ArrayLike) -> float:
    """Compute split R-hat = sqrt(1 - 1/n + B / (n W)) over the half-chains of all walkers.

    Args:
        series: (T, B) or (T,).

    Returns:
        About sqrt(1 + 2 tau / T) if all half-chains sample one distribution; NaN for fewer than four steps.
    """
    values = _validated(series)
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
    centred = _centred(values)
    time = np.arange(n_steps) - (n_steps - 1) / 2.0
    trend = time / (time @ time)
    first, half = n_steps // 10, n_steps // 2
    geweke = np.zeros(n_steps)
    geweke[:first], geweke[-half:] = -1.0 / first, 1.0 / half
    mean = centred.mean(axis=1)  # (T,)
    mean_variance, variance = _moments(centred - ((trend @ mean) * time)[:, None])
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
    values = _validated(series)
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


def estimate(series: ArrayLike) -> Estimate:
    """Estimate the mean of a series and its standard error sqrt(variance * tau / (T B)).

    The error comes from tau: the autocovariances of all walkers determine it better than the few blocks of
    one averaged series, and its normal intervals cover their nominal share where those of blocking do not
    (T = 13 tau, 32 walkers, nominal 95 %: 95 against 85 %). Blocking of the mean over walkers is the guard
    against dependent walkers: where larger by three times its own chance scatter, it replaces the error.

    Args:
        series: (T, B) or (T,).

    Returns:
        The estimate, in the unit of the series; where `stationary` is False its error is not to be trusted.
    """
    values = _validated(series)
    n_steps, n_walkers = values.shape
    centred = _centred(values)
    mean_variance, variance = _moments(centred)
    if n_steps >= 2 * MIN_BLOCKS:
        blocks = blocking(centred.mean(axis=1))
        chance = 1.0 + 3.0 / math.sqrt(2.0 * (n_steps // blocks.block_length - 1))
        if blocks.standard_error > chance * math.sqrt(mean_variance):
            mean_variance = blocks.standard_error**2
    tau = mean_variance * values.size / variance if variance > 0.0 else 1.0
    verdict = stationarity(values)
    return Estimate(
        mean=float(values.mean()),
        standard_error=math.sqrt(mean_variance),
        tau=tau,
        r_hat=r_hat(values),
        n_effective=values.size / tau,
        variance=variance,
        n_steps=n_steps,
        n_walkers=n_walkers,
        stationary=verdict.stationary,
        reason=verdict.reason,
    )


def outlier_share(series: ArrayLike, k: float = 5.0) -> float:
    """Return the share of samples further than k mean absolute deviations from the median.

    Args:
        series: (T, B) or (T,).
        k: Limit in mean absolute deviations from the median.

    Returns:
        Share between 0 and 1; 0 for a constant series.
    """
    values = _validated(series)
    distance = np.abs(values - np.median(values))
    return float(np.mean(distance > k * distance.mean()))
