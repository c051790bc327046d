"""Whether walkers have reached equilibrium: a test at a few, ever rarer sweeps.

Walkers are independent of one another, so the trend of a quantity that each of them carries has an error from how the
walkers differ, whatever their autocorrelation; the scatter of the mean over walkers in time says much less. A test that
is tried again and again passes sooner or later, and early on it sees least: looks are rare, and the first are strict.

What remains of a bias that decays as exp(-t / tau), in standard errors of the mean over walkers of one sweep, with at
most 200 sweeps and 128 walkers (200 simulations; half of the variance of a walker is fast, see the tests):

    bias and tau at the start     accepted   sweeps, mean   left when accepted, mean
    none                            100 %         71              0
    none, autocorrelation 40        100 %         72              0
    30, 10                          100 %        129              0.0
    10, 50                           85 %        179              0.3
    14, 8 and 6, 40                  99 %        148              0.2
    20, 100                           0 %        200              -
    10, 200                           1 %        198              7.9

A bias is seen less where a slow mode of the walkers is as slow as the bias decays: of 10 that decay in 200 sweeps, with
a tenth of the variance as slow, 43 % pass within 200 sweeps.
"""

import math

import torch
from torch import Tensor

FIRST_LOOK, GROWTH = 48, 1.5
STRICTEST, LARGEST_DRIFT = 0.5, 2.0  # standard errors; the limits of the first look and of late ones
ENOUGH = 80  # sweeps that show a drift well enough to leave out more of those before
FEWEST = 8


def looks(first: int, last: int) -> list[int]:
    """Choose the sweeps at which to test.

    Args:
        first: sweeps before which not to test.
        last: sweeps after which there are no more.

    Returns:
        Numbers of sweeps, ascending, each about one and a half times the one before; the last is `last`.
    """
    chosen, sweeps = [], max(first, FIRST_LOOK)
    while sweeps < last:
        chosen.append(sweeps)
        sweeps = round(GROWTH * sweeps)
    return [*chosen, last]


def equilibrated(series: Tensor) -> bool:
    """Tell whether a quantity of the walkers has stopped drifting; waits for the device once.

    Args:
        series: one value a sweep and walker, such as the log-probability, shape (n, B).

    Returns:
        Whether the drift of the later sweeps, half to three quarters of all, is within 0.5 standard errors up to sweep
        48, 1.0 at 72, 1.5 at 108 and 2 from 162 on. False of fewer than 8 sweeps and of values that are not finite.
    """
    n_sweeps = len(series)
    kept = series[min(max(n_sweeps - ENOUGH, n_sweeps // 4), n_sweeps // 2) :]
    if len(kept) < FEWEST:
        return False
    n_looks = 1 + math.log(n_sweeps / FIRST_LOOK, GROWTH)
    return bool(drift(kept).abs() < min(max(STRICTEST * n_looks, STRICTEST), LARGEST_DRIFT))


def drift(series: Tensor) -> Tensor:
    """Measure the mean linear trend of independent walkers in standard errors.

    Args:
        series: shape (n, B).

    Returns:
        0-dim, normally distributed in equilibrium; NaN if no walker moves or a value is not finite.
    """
    values = series.double()
    time = torch.arange(len(values), dtype=values.dtype, device=values.device)
    slopes = (time - time.mean()) @ values  # (B,)
    return slopes.mean() / slopes.std() * len(slopes) ** 0.5
