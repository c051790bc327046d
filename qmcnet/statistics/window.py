"""The part of an evaluation that is averaged: one for the energies, the observables and the density of all states.

Letters: S states, B walkers, n time bins.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qmcnet.statistics.averages import Averages, Means, count_of
from qmcnet.statistics.eigenstates import eigenstates, level_means, levels, without_overlap
from qmcnet.statistics.estimate import Estimate, estimate
from qmcnet.statistics.jackknife import jackknife

SHARES = (0.0, 0.25, 0.5)
STRIDE = 8
"""Windows start at every eighth bin, where averages with an eighth of the bins have an edge too."""
FEWEST = 10  # bins left to average, as many as a series must span autocorrelation times
MOST_NONFINITE = 0.01
"""Largest share of samples that may be left out because they are not finite."""


@dataclass(frozen=True)
class Window:
    """What the energies in a part of an evaluation say.

    Attributes:
        discarded: steps left out at the start.
        states: estimate of each state by ascending energy, in hartree; those of one level share its mean.
        total: estimate of the sum of the energies; of a single state the same.
        levels: level of each state, (S,); states that are degenerate within error share one.
        far_out: share of local energies far out in the tails.
        nonfinite: samples left out because the energy was not finite.
        lost: of those left, samples of other quantities that were not finite, by name, where there are any.
        refused: names of those of which more than 1 % were.
        reason: why nothing may be averaged, or an empty string.
    """

    discarded: int
    states: tuple[Estimate, ...]
    total: Estimate
    levels: NDArray[np.int64]
    far_out: float
    nonfinite: int
    lost: dict[str, int]
    refused: tuple[str, ...]
    reason: str

    @property
    def stationary(self) -> bool:
        """Whether averages mean something."""
        return not self.reason

    @property
    def largest_error(self) -> float:
        """Largest standard error of the energies of all states, in hartree."""
        return max((state.standard_error for state in self.states), default=math.nan)


def choose_window(averages: Averages) -> Window:
    """Find the longest part of an evaluation, up to its end, in which the energy of every state is stationary.

    Args:
        averages: of the local energy matrix and other local matrices.

    Returns:
        The first of the whole, three quarters and half of it that is stationary; the whole with its reason if none is.
    """
    bins = averages.bins
    if not bins.n_steps:
        return _unknown(0, 0, 0, "nothing was recorded")
    starts = dict.fromkeys(STRIDE * round(share * bins.n_full / STRIDE) for share in SHARES)
    whole = _judge(averages, 0)
    later = [start for start in starts if 0 < start <= bins.n_full - FEWEST]
    windows = (_judge(averages, start * bins.steps_per_bin) for start in later)
    return whole if whole.stationary else next((window for window in windows if window.stationary), whole)


def _judge(averages: Averages, discarded: int) -> Window:
    totals = averages.totals(discarded)
    n_finite, offered = int(totals["count"]), int(totals["offered"])
    share = 1.0 - n_finite / offered
    bad = f"{100 * share:.2g} % of the local energies are not finite, at most {100 * MOST_NONFINITE:g} % may be"
    if share > MOST_NONFINITE:
        return _unknown(discarded, averages.bins.n_steps - discarded, offered - n_finite, bad)
    means = averages.means(discarded)
    labels = levels(*_gaps(averages, discarded))
    steps = averages.bins.n_steps - discarded
    series, trace = _series(averages, means, discarded)
    energies = eigenstates(without_overlap(means)["energy"][0])[0]
    found = [
        _estimate(level_means(series, labels)[i], averages, steps, float(level_means(energies, labels)[i]))
        for i in range(len(labels))
    ]
    total_mean = float(np.trace(means["energy"][0]).real)
    assert averages.origin is not None
    variance = max(float(totals["square"]) / n_finite - (total_mean - float(averages.origin)) ** 2, 0.0)
    total = _estimate(trace, averages, steps, total_mean, variance)
    states = (total,) if len(found) == 1 else tuple(found)
    lost = {name: n_finite - int(totals[count_of(name)]) for name in means}
    reasons = [
        f"state {i}: {state.reason}" if len(states) > 1 else state.reason
        for i, state in enumerate(states)
        if not state.stationary
    ]
    return Window(
        discarded,
        states,
        total,
        labels,
        far_out=float(totals["far_out"]) / n_finite,
        nonfinite=offered - n_finite,
        lost={name: number for name, number in lost.items() if number},
        refused=tuple(name for name, number in lost.items() if number > MOST_NONFINITE * n_finite),
        reason="; ".join(reasons),
    )


def _gaps(averages: Averages, discarded: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the energies of the states and the errors of the gaps between neighbours."""

    def energies(means: Means) -> Means:
        """Give the energies of all states."""
        found = eigenstates(without_overlap(means)["energy"][0])[0]
        return {"energy": found, "gap": np.diff(found)}

    groups = averages.groups(discarded)
    names = [name for name in ("energy", "overlap", "count") if name in groups]
    values, errors = jackknife(energies, {name: groups[name] for name in names})
    return values["energy"], errors["gap"]


def _series(averages: Averages, means: Means, discarded: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the energy of every state at each time and walker, (S, n, B), and the sum of the energies, (n, B).

    An energy is an eigenvalue of averages, and responds to a small change of these as first-order perturbation theory
    says: what it would become, were the averages those of one walker and one bin, is linear in these.
    """
    chains = averages.chains(discarded)
    matrix = without_overlap(means)["energy"][0]
    energies, vectors = eigenstates(matrix)
    left = np.linalg.inv(means["overlap"][0] @ vectors if "overlap" in means else vectors)
    change = chains["energy"] - (chains["overlap"] @ matrix if "overlap" in chains else matrix)  # (n, B, S, S)
    series = np.einsum("js,tbsk,kj->jtb", left, change, vectors, optimize=True).real
    trace = np.trace(chains["energy"], axis1=-2, axis2=-1).real
    return energies[:, None, None] + series, trace


def _estimate(
    series: NDArray[np.float64], averages: Averages, steps: int, mean: float, variance: float | None = None
) -> Estimate:
    """Estimate from full bins, and give the mean over all steps, of which the last may be in a bin that is not."""
    length = averages.bins.steps_per_bin
    found = estimate(series, length, variance)
    share = len(series) * length / steps
    return replace(
        found,
        mean=mean,
        standard_error=found.standard_error * math.sqrt(share),
        n_effective=found.n_effective / share,
        n_steps=steps,
    )


def _unknown(discarded: int, steps: int, nonfinite: int, reason: str) -> Window:
    nan = math.nan
    nothing = Estimate(nan, nan, nan, nan, nan, nan, steps, 0, stationary=False, reason=reason)
    return Window(discarded, (), nothing, np.zeros(0, np.int64), nan, nonfinite, {}, (), reason)
