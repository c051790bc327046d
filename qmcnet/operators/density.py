"""Electron density on a regular grid, and cube files of it.

Letters: M points, B walkers, S states, N electrons.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from qmcnet.checks import positive
from qmcnet.system.elements import atomic_number, shells
from qmcnet.system.molecule import Molecule

LEAST_MARGIN = 5.0
"""Bohr."""
OUTSIDE = 0.03
"""Share of an electron in the outermost shell of Slater's rules that is further from its nucleus than the margin; of
sodium, of which a margin of 5 bohr leaves .16 electrons out, it leaves .004 out."""


@dataclass(frozen=True)
class DensityGrid:
    """Cubic voxels around a molecule that count the electrons in them.

    There are too many of them for a local matrix of each at every walker. What is kept are the sums over walkers of
    the local matrices, which `count` returns.

    Attributes:
        origin: middle of the first voxel, in bohr.
        shape: voxels along x, y and z.
        spacing: edge of a voxel, in bohr.
    """

    origin: tuple[float, float, float]
    shape: tuple[int, int, int]
    spacing: float

    @classmethod
    def around(cls, molecule: Molecule, spacing: float = 0.2, margin: float | None = None) -> "DensityGrid":
        """Cover a molecule.

        Args:
            molecule: nuclei in the middle of the grid.
            spacing: edge of a voxel, in bohr.
            margin: distance of the outermost nuclei from the faces, in bohr, at least; None for 5, or as far as the
                electrons of its atoms reach.

        Returns:
            The grid.

        Raises:
            ValueError: for a length that is not positive.
        """
        positive(spacing=spacing, margin=margin)
        margin = reach(molecule) if margin is None else margin
        low, high = molecule.nuclei.amin(0) - margin, molecule.nuclei.amax(0) + margin
        counts = torch.ceil((high - low) / spacing)
        x, y, z = ((low + high - (counts - 1) * spacing) / 2).tolist()
        n_x, n_y, n_z = counts.long().tolist()
        return cls((x, y, z), (n_x, n_y, n_z), spacing)

    def resized(self, shape: Sequence[int]) -> "DensityGrid":
        """Take another number of voxels about the same place.

        Args:
            shape: voxels along x, y and z.

        Returns:
            The grid.
        """
        x, y, z = (
            start + (old - new) * self.spacing / 2
            for start, old, new in zip(self.origin, self.shape, shape, strict=True)
        )
        n_x, n_y, n_z = shape
        return replace(self, origin=(x, y, z), shape=(n_x, n_y, n_z))

    def count(self, positions: Tensor, weights: Tensor) -> Tensor:
        """Count the electrons by voxel; those outside the grid are left out.

        Args:
            positions: electron positions, shape (M, N, 3), in bohr.
            weights: W weights of each point, such as `state_weights`, shape (M, W).

        Returns:
            Weighted counts, shape (W, x, y, z), in the dtype of the weights.
        """
        # Numbers go to a device with an operation; tensors of them would have to be copied there, and waited for.
        place = torch.zeros(positions.shape[:-1], dtype=torch.int64, device=positions.device)  # (M, N)
        inside = torch.ones_like(place, dtype=torch.bool)
        for axis, origin, size in zip(positions.double().unbind(-1), self.origin, self.shape, strict=True):
            voxel = ((axis - origin) / self.spacing).round().long()
            inside = inside & (voxel >= 0) & (voxel < size)
            place = place * size + voxel
        place = torch.where(inside, place, 0).flatten()  # (M N)
        shares = (weights[:, None] * inside[..., None]).flatten(0, 1)  # (M N, W)
        sums = weights.new_zeros((math.prod(self.shape), weights.shape[-1]))
        # This adds in the same order every time on a GPU, too, as `index_add_` does not.
        return sums.index_put_((place,), shares, accumulate=True).T.unflatten(-1, self.shape)

    def density(self, counts: Tensor, n_walkers: float) -> Tensor:
        """Turn counts into a density, of which the integral is the number of electrons in the grid.

        Args:
            counts: electrons counted, of any shape.
            n_walkers: walkers counted.

        Returns:
            Density, in 1/bohr^3.
        """
        return counts / (n_walkers * self.spacing**3)

    def write_cube(self, path: Path, molecule: Molecule, density: Tensor, title: str) -> None:
        """Write a cube file, in bohr.

        Args:
            path: file to write.
            molecule: the nuclei.
            density: values in the voxels, shape (x, y, z), in 1/bohr^3.
            title: one line on what it is.
        """
        rows = itertools.chain(
            [title, "electrons per cubic bohr", _row(len(molecule.symbols), *self.origin)],
            (_row(n, *(self.spacing * (i == j) for j in range(3))) for i, n in enumerate(self.shape)),
            (
                _row(atomic_number(symbol), charge, *center)
                for symbol, charge, center in zip(
                    molecule.symbols, molecule.charges.tolist(), molecule.coordinates, strict=True
                )
            ),
            (
                "".join(f"{value:14.5E}" for value in column[start : start + 6])
                for column in density.flatten(0, 1).tolist()
                for start in range(0, len(column), 6)
            ),
        )
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def reach(molecule: Molecule) -> float:
    """Tell how far from nuclei there may be electrons.

    Args:
        molecule: the system.

    Returns:
        Distance in bohr; of an anion with half the exponents, as those of `Cloud`.
    """
    r = torch.linspace(0, 40, 801, dtype=torch.float64)
    outermost = [
        shells(atomic_number(symbol), n)[-1] for symbol, n in zip(molecule.symbols, molecule.cores, strict=True)
    ]
    scale = 2.0 if molecule.charge >= 0 else 1.0
    outside = [torch.special.gammaincc(r.new_tensor(2.0 * each.n + 1), scale * each.zeta * r) for each in outermost]
    return max(LEAST_MARGIN, float(r[torch.stack(outside).amax(0) > OUTSIDE].amax()))


def _row(integer: int, *numbers: float) -> str:
    return f"{integer:5d}" + "".join(f"{number:12.6f}" for number in numbers)


def state_weights(psi: Tensor, inverse: Tensor) -> Tensor:
    """Weights with which the points of a walker count for the local matrix of a function of one point.

    The local matrix Psi^-1 (o Psi) is the sum over points i of o(x^i) (Psi^-1)_ji Psi_ik.

    Args:
        psi: states k at points x^i, shape (B, S, S), rows scaled freely.
        inverse: what local matrices have on the left, Psi^-1 of natural excited states, shape (B, S, S).

    Returns:
        The weights of (j, k), which add up to the local matrix of the identity, shape (B S, S^2).
    """
    weights = inverse.mT[..., None] * psi[:, :, None]  # (B, i, j, k)
    return weights.flatten(0, 1).flatten(-2)
