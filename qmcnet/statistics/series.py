"""Series of Markov chains: their validation, autocovariance, and the variance of their mean.

A series is an array (T, B): T recorded steps of B independent walkers, in any unit; (T,) means B = 1. The
autocorrelation time is tau = 1 + 2 sum_t rho_t in recorded steps, so tau = 1 for independent samples.

References:
    Geyer, Statist. Sci. 7, 473 (1992), doi:10.1214/ss/1177011137: initial monotone positive sequence.
    Wolff, Comput. Phys. Commun. 156, 143 (2004), doi:10.1016/S0010-4655(03)00467-3: bias of the window sum.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FFT_SAMPLES = 1 << 22  # samples transformed at once: bounds the memory of a long run


def validated(series: ArrayLike) -> Array:
    """Give a series its shape, and refuse one that is no series.

    Args:
        series: (T, B) or (T,).

    Returns:
        Shape (T, B).

    Raises:
        ValueError: for another shape, or samples that are not finite.
    """
    values = np.asarray(series, dtype=np.float64)
    if values.ndim not in (1, 2) or values.size < 2:
        raise ValueError(f"series has shape {values.shape}; allowed: (T, B) or (T,), two samples or more")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"series must be finite: {len(bad)} samples are not, the first at {bad[0].tolist()}")
    return values.reshape(len(values), -1)


def centred(values: Array) -> Array:
    """Subtract the mean.

    Args:
        values: shape (T, B).

    Returns:
        Shape (T, B), exactly zero for a constant series.
    """
    shifted: Array = values - values[0, 0]  # a constant series becomes exactly zero, not rounding noise
    shifted -= shifted.mean()
    return shifted


def _autocovariance(deviations: Array) -> Array:
    n_steps, n_walkers = deviations.shape
    padded = 1 << (2 * n_steps - 1).bit_length()
    power = np.zeros(padded // 2 + 1)
    chunk = max(1, FFT_SAMPLES // padded)
    for start in range(0, n_walkers, chunk):
        amplitude = np.fft.rfft(deviations[:, start : start + chunk], padded, axis=0)
        power += np.sum(amplitude.real**2 + amplitude.imag**2, axis=1)
    return np.asarray(np.fft.irfft(power, padded)[:n_steps] / (n_steps * n_walkers), dtype=np.float64)


@dataclass(frozen=True)
class Moments:
    """What the autocovariance of a series says.

    Attributes:
        mean_variance: variance of the mean; of the mean of one walker, if walkers were centred one by one.
        variance: variance of a sample.
        uncertainty: relative variance of `mean_variance`, halved.
    """

    mean_variance: float
    variance: float
    uncertainty: float


def moments(deviations: Array, n_means: int = 1) -> Moments:
    """Estimate the variance of the mean of a series from its autocovariance.

    The sum of 1/T-normalised autocovariances ends where Geyer's pairs turn non-positive. Subtracting the mean
    lowers every term by about v, the variance of the mean; solving for v divides by 1 - weight / N, with the weight
    of the window and the number N of samples that share a mean: Wolff's correction for one chain, B / (B - 1) for a
    window of T.

    Args:
        deviations: the series minus its mean, shape (T, B).
        n_means: means that were subtracted: 1, or B if every walker lost its own.

    Returns:
        The moments.
    """
    n_steps, size = len(deviations), deviations.size / n_means
    covariance = _autocovariance(deviations)
    pairs = np.append(covariance, np.zeros(n_steps % 2)).reshape(-1, 2).sum(axis=1)  # (T/2,)
    negative = np.flatnonzero(pairs <= 0.0)
    n_pairs = max(1, negative[0]) if negative.size else len(pairs)
    window_sum = 2.0 * np.minimum.accumulate(pairs[:n_pairs]).sum() - covariance[0]
    weight = 1.0 + 2.0 * np.sum(1.0 - np.arange(1, min(2 * n_pairs, n_steps)) / n_steps)
    floor = covariance[0] / max(1.0, math.log10(deviations.size))  # anticorrelated chains: tau stays positive
    mean_variance = max(window_sum / max(0.5, 1.0 - weight / size), floor) / size
    return Moments(float(mean_variance), float(covariance[0] + mean_variance), float(weight / deviations.size))
