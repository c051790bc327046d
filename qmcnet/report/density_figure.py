"""A figure of the electron density that a cube file holds."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qmcnet.report.drawing import new

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

MOST_VOXELS = 20_000_000
"""Larger grids are not those of this package."""


@dataclass(frozen=True)
class Cube:
    """Values on a grid whose axes are those of the coordinates.

    Attributes:
        origin: middle of the first voxel, in bohr.
        spacing: edges of a voxel, in bohr.
        nuclei: positions, shape (A, 3), in bohr.
        values: shape (x, y, z), in 1/bohr^3.
    """

    origin: NDArray[np.float64]
    spacing: NDArray[np.float64]
    nuclei: NDArray[np.float64]
    values: NDArray[np.float64]

    @classmethod
    def read(cls, path: Path) -> "Cube":
        """Read what `DensityGrid` writes.

        Args:
            path: the cube file.

        Returns:
            The density.

        Raises:
            ValueError: if it is no such file.
        """
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            count, *origin = (float(cell) for cell in lines[2].split())
            axes = [[float(cell) for cell in line.split()] for line in lines[3:6]]
            shape = [int(axis[0]) for axis in axes]
            first = 6 + int(count)
            nuclei = np.array([[float(cell) for cell in line.split()[2:5]] for line in lines[6:first]])
            if not 0 < math.prod(shape) <= MOST_VOXELS:
                raise ValueError
            values = np.array(" ".join(lines[first:]).split(), dtype=np.float64).reshape(shape)
        except (ValueError, IndexError, OverflowError):
            raise ValueError(f"{path} is damaged: it is no cube file") from None
        spacing = np.array([axis[1 + i] for i, axis in enumerate(axes)])
        return cls(np.array(origin), spacing, nuclei.reshape(-1, 3), values)


def draw_density(cube: Cube) -> "Drawing":
    """Draw a density as it is seen from the side on which the nuclei lie furthest apart.

    Args:
        cube: the density.

    Returns:
        The figure of its integral along the line of sight, in electrons per square bohr.
    """
    drawing, (axes,) = new()
    drawing.subplots_adjust(right=0.84)
    spread = np.ptp(cube.nuclei, axis=0)
    across, up, along = (int(axis) for axis in np.argsort(-spread, kind="stable"))
    seen = cube.values.sum(along) * cube.spacing[along]
    seen = seen if across < up else seen.T  # (across, up)
    low = cube.origin - cube.spacing / 2
    high = low + cube.spacing * np.array(cube.values.shape)
    image = axes.imshow(
        np.sqrt(np.clip(seen.T, 0, None)),
        origin="lower",
        extent=(low[across], high[across], low[up], high[up]),
        cmap="viridis",
        interpolation="nearest",
    )
    axes.plot(cube.nuclei[:, across], cube.nuclei[:, up], "+", color="white", markersize=7)
    axes.set(xlabel=f"{'xyz'[across]} / bohr", ylabel=f"{'xyz'[up]} / bohr")
    _scale(drawing, image, axes)
    return drawing


def _scale(drawing: "Drawing", image: Any, axes: Any) -> None:
    """Explain the colours, which are those of the square root: a density is much larger at nuclei."""
    from matplotlib.ticker import FuncFormatter

    bar = drawing.colorbar(
        image, ax=axes, fraction=0.05, pad=0.03, format=FuncFormatter(lambda root, _: f"{root**2:.2g}")
    )
    bar.set_label("electrons / bohr²")
