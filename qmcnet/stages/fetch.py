"""Statistics brought to the host.

Rows are buffered as they come, tensors on their device, and fetched together every few steps, so that the step loop
does not wait for the device.
"""

import math
from collections.abc import Iterable

from torch import Tensor

from qmcnet.compute.transfer import to_host
from qmcnet.stages.stage import Row
from qmcnet.statistics.eigenstates import eigenstates


def fetch(rows: Iterable[Row]) -> list[dict[str, float]]:
    """Bring buffered rows to the host in one transfer from each device that holds a part of them.

    Args:
        rows: statistics by name, tensors and numbers mixed.

    Returns:
        The rows as plain numbers; a matrix `x` of S rows as its eigenvalues x_0, x_1, ... in ascending order.
    """
    rows = list(rows)
    fetched = iter(to_host([value for row in rows for value in row.values() if isinstance(value, Tensor)]))
    return [_numbers({k: next(fetched) if isinstance(v, Tensor) else v for k, v in row.items()}) for row in rows]


def _numbers(row: Row) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Tensor) and value.ndim == 2:
            numbers |= {f"{name}_{i}": energy for i, energy in enumerate(_eigenvalues(value))}
        else:
            numbers[name] = float(value.real)
    return numbers


def _eigenvalues(matrix: Tensor) -> list[float]:
    if not matrix.isfinite().all():
        return [math.nan] * len(matrix)
    return [float(energy) for energy in eigenstates(matrix.numpy())[0]]
