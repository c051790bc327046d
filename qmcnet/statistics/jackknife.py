"""Error bars of figures that are made of averages, by leaving out one group of walkers at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.statistics.averages import Means, count_of

Report = Callable[[NDArray[Any]], tuple[NDArray[Any], NDArray[Any]]]
"""Makes figures and standard errors out of averages over independent groups, shape (G, ...)."""


def jackknife(
    function: Callable[[Means], Means], sums: Mapping[str, NDArray[Any]], reports: Mapping[str, Report] | None = None
) -> tuple[Means, Means]:
    """Evaluate figures that are made of averages, with standard errors.

    The errors are widened by `student`, so that a figure is within one of them as often as for many groups.

    Args:
        function: maps averages by name, each (C, S, S), to figures by name, each of any shape.
        sums: sums over groups and their counts, as of `Averages.groups`.
        reports: by name of a figure that is not to be reported itself, what makes those that are out of its groups.

    Returns:
        The figures of the averages over all groups, and their standard errors; NaN of a single group.
    """
    totals = {name: values.sum(0) for name, values in sums.items()}
    names = [name for name, values in sums.items() if values.ndim > 1]
    figures = function({name: totals[name] / totals[count_of(name)] for name in names})
    n_groups, left = len(sums["count"]), []
    for group in range(n_groups if n_groups > 1 else 0):
        others = {name: totals[name] - sums[name][group] for name in totals}
        left.append(function({name: others[name] / others[count_of(name)] for name in names}))
    spread = {name: np.stack([other[name] for other in left or [figures]]) for name in figures}
    scale = student(n_groups - 1) * (n_groups - 1) ** 0.5 if n_groups > 1 else np.nan
    errors = {name: scale * values.std(0) for name, values in spread.items()}
    for name, report in (reports or {}).items():
        # Tukey's pseudo-values stand for the groups, whatever linear or curved way they enter.
        groups = n_groups * figures[name] - (n_groups - 1) * spread[name]
        figures[name], errors[name] = report(groups)
    return figures, errors


def student(freedom: int) -> float:
    """Return the deviation, in standard errors from few groups, that 68.27 % of the figures stay within.

    The expansion of Student's quantile in inverse degrees of freedom: 1.81 for one (exact 1.84), 1.197 for three.

    Args:
        freedom: degrees of freedom, groups minus one.

    Returns:
        Factor above one.
    """
    return 1.0 + 0.5 / freedom + 0.25 / freedom**2 + 0.0625 / freedom**3
