"""Error bars of figures that are made of averages, by leaving out one group of walkers at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.statistics.averages import Means


def jackknife(function: Callable[[Means], Means], sums: Mapping[str, NDArray[Any]]) -> tuple[Means, Means]:
    """Evaluate figures that are made of averages, with standard errors.

    Args:
        function: maps averages by name, each (C, S, S), to figures by name, each of any shape.
        sums: sums over groups and `count`, as of `Averages.sums`.

    Returns:
        The figures of the averages over all groups, and their standard errors; NaN of a single group.
    """
    counts = sums["count"]
    totals = {name: values.sum(0) for name, values in sums.items()}
    names = [name for name in sums if name != "count"]
    figures = function({name: totals[name] / totals["count"] for name in names})
    n_groups = len(counts)
    if n_groups < 2:
        return figures, {name: np.full(np.shape(value), np.nan) for name, value in figures.items()}
    left = [
        function({name: (totals[name] - sums[name][group]) / (totals["count"] - counts[group]) for name in names})
        for group in range(n_groups)
    ]
    spread = {name: np.stack([other[name] for other in left]) for name in figures}
    return figures, {name: np.sqrt((n_groups - 1) * values.var(0)) for name, values in spread.items()}
