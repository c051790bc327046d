"""The standard error of the mean of one chain, by averaging over blocks of growing length.

References:
    Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989), doi:10.1063/1.457480: blocking.
    Lee et al., Phys. Rev. E 83, 066706 (2011), doi:10.1103/PhysRevE.83.066706: choice of the block.
"""

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from qmcnet.statistics.series import centred, validated

MIN_BLOCKS = 8  # fewer blocks leave the error itself unknown by more than a quarter


@dataclass(frozen=True)
class Blocking:
    """Standard error of a mean from blocks; a level is (block_length, standard_error, error_of_error)."""

    standard_error: float
    block_length: int
    error_of_error: float
    levels: tuple[tuple[int, float, float], ...]


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
    values = validated(series)
    if values.shape[1] != 1:
        raise ValueError(f"series has shape {values.shape}; expected (T,): average over walkers")
    blocks = centred(values)[:, 0]
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
