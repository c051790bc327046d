"""Tables and pictures of `convergence.py`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

matplotlib.use("Agg")
CHEMICAL_ACCURACY = 1.6
"""In millihartree."""


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that share their keys.

    Args:
        path: file to write.
        rows: cells by column.
    """
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({key: f"{v:.7g}" if isinstance(v, float) else v for key, v in row.items()} for row in rows)


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Read rows written by `write_csv`.

    Args:
        path: the file.

    Returns:
        Cells by column, numbers as such.
    """
    with path.open(newline="") as file:
        return [{key: number(cell) for key, cell in row.items()} for row in csv.DictReader(file)]


def number(cell: str) -> float | str:
    """Read a cell.

    Args:
        cell: its text.

    Returns:
        A number if it is one.
    """
    try:
        return float(cell)
    except ValueError:
        return cell


def averaged(rows: Sequence[Mapping[str, Any]], reference: float) -> dict[str, list[dict[str, float]]]:
    """Average the curves of each optimiser over the seeds.

    Args:
        rows: points of one system.
        reference: energy, in hartree.

    Returns:
        Points by optimiser: step, seconds, distance from the reference and its error in millihartree, variance.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for label in dict.fromkeys(row["optimizer"] for row in rows):
        mine = [row for row in rows if row["optimizer"] == label]
        for step in sorted({row["step"] for row in mine}):
            here = [row for row in mine if row["step"] == step]
            count = len(here)
            point = {key: sum(row[key] for row in here) / count for key in ("step", "seconds", "energy", "variance")}
            error = sum(row["standard_error"] ** 2 for row in here) ** 0.5 / count
            point |= {"above": 1e3 * (point["energy"] - reference), "error": 1e3 * error}
            curves.setdefault(label, []).append(point)
    return curves


def arrival(curve: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Find where a curve comes within chemical accuracy to stay.

    Args:
        curve: its points.

    Returns:
        The first point of the tail that is, or None.
    """
    outside = [i for i, point in enumerate(curve) if not abs(point["above"]) < CHEMICAL_ACCURACY]
    first = outside[-1] + 1 if outside else 0
    return curve[first] if first < len(curve) else None


def summary(
    name: str, curves: Mapping[str, Sequence[Mapping[str, float]]], rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Compare the optimisers.

    Args:
        name: system.
        curves: averaged over seeds.
        rates: learning rates.

    Returns:
        One row an optimiser.
    """
    rows: list[dict[str, Any]] = []
    for label, curve in curves.items():
        last, first = curve[-1], arrival(curve)
        row = {"system": name, "optimizer": label, "rate": rates[label], "above / mHa": last["above"]}
        row |= {"error / mHa": last["error"], "variance": last["variance"]}
        row |= {"ms a step": 1e3 * last["seconds"] / last["step"]}
        row |= {f"{key} to 1.6 mHa": "" if first is None else round(first[key]) for key in ("step", "seconds")}
        rows.append(row)
    return rows


def plot(path: Path, name: str, curves: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Draw energies against steps and against time.

    Args:
        path: PNG file to write.
        name: system.
        curves: averaged over seeds.
    """
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, key, label in zip(axes, ("step", "seconds"), ("step", "seconds of training"), strict=True):
        for optimizer, curve in curves.items():
            above = [max(point["above"], 0.05) for point in curve]
            axis.plot([point[key] for point in curve], above, marker=".", label=optimizer)
        axis.axhline(CHEMICAL_ACCURACY, color="black", linewidth=0.8, linestyle="--")
        axis.set(xlabel=label, yscale="log")
    axes[0].set_ylabel("above the reference / mHa")
    axes[1].legend(ncols=2, fontsize="small")
    figure.suptitle(name)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
