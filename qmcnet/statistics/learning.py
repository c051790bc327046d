"""Energy and variance while a wavefunction is trained, in a record of bounded size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qmcnet.statistics.time_bins import TimeBins
from qmcnet.statistics.zero_variance import Slope, fit

MOST_BINS = 128
LATE = 0.65
"""Share of the steps, at the end, in which energy and variance are compared: those of a falling rate."""
N_POINTS = 8
FURTHEST = 5.0
"""A bin counts for no more than this many median deviations: one walker of many thousands may carry it away."""


class Points(NamedTuple):
    """A few averages over the late part of a training, in the order of time.

    Attributes:
        energies: mean energies, in hartree.
        errors: one standard error of each, in hartree.
        variances: typical variance of the local energy at each, in hartree^2.
    """

    energies: list[float]
    errors: list[float]
    variances: list[float]


class LearningCurve:
    """Mean energies and variances of all steps so far.

    Of the variance the logarithm is averaged: a single walker near a node may be worth more than all others.
    """

    def __init__(self) -> None:
        """Start without a step."""
        self.bins = TimeBins(MOST_BINS)

    def add(self, energy: Tensor, variance: Tensor) -> None:
        """Take note of a step, without waiting for the device.

        Args:
            energy: mean local energy of the walkers, 0-dim, in hartree.
            variance: of their local energies, 0-dim, in hartree^2.
        """
        logarithm = variance.double().clamp(min=torch.finfo(torch.float64).tiny).log()
        self.bins.add({"sums": torch.stack([torch.ones_like(logarithm), energy.double(), logarithm])})

    def look(self) -> "Look":
        """Bring what was noted to the host, which waits for the device once.

        Returns:
            The curve so far.
        """
        parts = [part["sums"] for part in self.bins.parts]
        return Look(torch.stack(parts, 1).cpu().numpy() if parts else np.zeros((3, 0)))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return self.bins.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
            device: of the steps to come.
        """
        self.bins.load_state_dict(state, device)


@dataclass(frozen=True)
class Look:
    """A learning curve on the host.

    Attributes:
        sums: number of steps, energies and logarithms of variances of every bin, shape (3, bins).
    """

    sums: NDArray[np.float64]

    def points(self, share: float = LATE, count: int = N_POINTS) -> Points:
        """Average over parts of equal length at the end of the training.

        Args:
            share: of all steps, which the parts make up.
            count: number of parts.

        Returns:
            The averages; none where there are not three bins for each.
        """
        steps, energy, logs = self.sums
        n_late = int(share * len(steps)) // count * count
        if n_late < 3 * count:
            return Points([], [], [])
        energy, logs = ((values[-n_late:] / steps[-n_late:]).reshape(count, -1) for values in (energy, logs))
        variances = np.exp(np.median(logs, -1))
        widths = np.sqrt(variances)  # bins scatter in proportion to the square root of the variance
        # Neighbours share what changes slowly; 0.6745 is the median modulus of a normal distribution of variance one.
        apart = np.abs(np.diff(energy, axis=-1)) / widths[:, None]
        scatter = widths * np.median(apart) / (0.6745 * 2**0.5)
        scatter = np.maximum(scatter, np.finfo(float).eps * np.abs(energy).max())  # an exact state has none
        means = [_mean(part, error) for part, error in zip(energy, scatter, strict=True)]
        return Points(means, (scatter / energy.shape[1] ** 0.5).tolist(), variances.tolist())

    @property
    def typical_variance(self) -> float:
        """Geometric mean of the variances of all steps, in hartree^2; nan without a step."""
        steps, _, logs = self.sums
        return float(np.exp(logs.sum() / steps.sum())) if len(steps) else math.nan


def distance_of(points: Points, slope: Slope) -> float | None:
    """Estimate how far the energy is above the exact one.

    Args:
        points: of the late part of a training.
        slope: what is known of the slope before the run.

    Returns:
        The distance, in hartree; None where the steps are too few to tell.
    """
    return fit(*points, slope).distance(points.variances[-1])[0] if points.energies else None


def _mean(values: Any, error: Any) -> float:
    """Average values, none of which counts for more than a few errors from the median."""
    centre = np.median(values)
    return float(centre + np.clip(values - centre, -FURTHEST * error, FURTHEST * error).mean())
