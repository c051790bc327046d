"""A point of an energy surface: what a run has found at one geometry."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qmcnet.report.forces import BOND, by_nucleus, left_out
from qmcnet.report.result import Result
from qmcnet.system.molecule import Molecule

Array = NDArray[np.float64]

UNKNOWN_DISTANCE = 5e-3
"""What is taken, in hartree, for the distance of an energy from the exact one where nothing tells."""
OWN = 0.3
"""What forces are off by at one point alone, as a share of what they are off by everywhere."""
PULL, MOST_PULL = 10.0, 0.5
"""Stiffness with which forces pull a network back to where it was carried from, after `FORGOTTEN`: over the distance of
its energy, in 1/bohr^2, and at most, over that of the molecule. In water 12(2) and .5 of its bend, 2(4) of bonds."""
SPREAD = 0.05
"""How far energies scatter beyond their errors, over their distance from the exact one: those of ten runs of water,
10 mHa up, do by less than 0.5."""
TOLD = 0.2
"""How far the distances that runs tell of themselves scatter when they are alike, as a share: in water 0.17."""
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class SurfacePoint:
    """Energy and forces at a geometry.

    Attributes:
        molecule: the nuclei.
        energy: in hartree.
        error: its standard error.
        forces: on the nuclei, shape (A, 3), in hartree/bohr.
        force_errors: their standard errors, shape (A, 3).
        distance: how far the energy may be above the exact one, in hartree.
        directory: of the run.
        caveats: sentences on what makes the numbers hard to trust.
        origin: where the nuclei were when its network was carried here, shape (A, 3), in bohr; None for a network that
            was trained here from its start, or started from parameters as they were elsewhere.
        forgotten: sum of the learning rates since then, over `FORGOTTEN`.
    """

    molecule: Molecule
    energy: float
    error: float
    forces: Array
    force_errors: Array
    distance: float
    directory: Path
    caveats: tuple[str, ...] = ()
    origin: Array | None = None
    forgotten: float = 1.0

    @property
    def nuclei(self) -> Array:
        """Positions of the nuclei, shape (A, 3), in bohr."""
        return np.array(self.molecule.coordinates)

    @property
    def covariance(self) -> Array:
        """Covariance of the forces, shape (3 A, 3 A): as they add up to zero, what the others balance is added.

        With independent noise of the variances v less its mean, sums vanish and variances are v (A - 1) / A.
        """
        n_atoms = len(self.forces)
        return np.diag((self.force_errors**2 * n_atoms / (n_atoms - 1)).ravel())

    @property
    def worst_error(self) -> float:
        """Largest error of a force, in hartree/bohr."""
        return float(self.force_errors.max())

    def pull(self, constants: Array) -> Array:
        """Estimate how stiffly forces pull back to the origin: the parameters of the network lag behind.

        Args:
            constants: force constants along directions, shape (n,), in hartree/bohr^2.

        Returns:
            Along the same, shape (n,), in hartree/bohr^2; each may be off by as much again.
        """
        return np.minimum(PULL * self.distance / self.forgotten, MOST_PULL * constants)


def own_error(distance: float, constant: float = BOND) -> float:
    """Estimate what forces are off by at one point alone.

    Args:
        distance: how far the energy may be above the exact one, in hartree.
        constant: force constant along the displacement, in hartree/bohr^2.

    Returns:
        In hartree/bohr.
    """
    return OWN * left_out(distance, constant)


def scatter(distance: float) -> float:
    """Estimate how far energies of runs trained alike scatter beyond their errors.

    Args:
        distance: how far the energy may be above the exact one, in hartree.

    Returns:
        In hartree.
    """
    return SPREAD * distance


def distances(points: Sequence[SurfacePoint]) -> Array:
    """Estimate how far energies are above the exact ones from what all runs say, less what is chance.

    Runs that were trained alike are as far up but say so only to a share `TOLD`, which is more than their energies
    scatter; others, as a first one that was trained for longer, are not. So as much of each deviation from the mean is
    kept as the deviations of all are larger than chance.

    Args:
        points: of a surface.

    Returns:
        Shape (m,), in hartree.

    References:
        Efron, Morris, J. Am. Stat. Assoc. 68, 117 (1973), doi:10.1080/01621459.1973.10481350.
    """
    told = np.array([point.distance for point in points])
    mean, variance = told.mean(), told.var(ddof=1) if len(told) > 1 else 0.0
    kept = 0.0 if variance == 0 else max(0.0, 1 - (TOLD * mean) ** 2 / variance)
    return np.asarray(mean + kept * (told - mean))


def point_of(result: Result, molecule: Molecule, directory: Path, forgotten: float = 1.0) -> SurfacePoint | None:
    """Read a point from the result of a run.

    Args:
        result: of the run.
        molecule: its system.
        directory: of the run.
        forgotten: as `SurfacePoint` has it.

    Returns:
        The point; None where the result has no energy, or no forces with errors.
    """
    forces = result.states[0].get("forces") if result.states else None
    if result.energy is None or result.standard_error is None or not forces:
        return None
    parts = by_nucleus(forces)
    names = [f"{symbol}{number}" for number, symbol in enumerate(molecule.symbols, start=1)]
    figures = [[parts[name][axis] for axis in AXES] for name in names]
    if any(figure[kind] is None for row in figures for figure in row for kind in ("value", "error")):
        return None
    source = result.metadata.get("init_from") or {}
    values, errors = (np.array([[figure[kind] for figure in row] for row in figures]) for kind in ("value", "error"))
    return SurfacePoint(
        molecule=molecule,
        energy=result.energy,
        error=result.standard_error,
        forces=values.astype(np.float64),
        force_errors=errors.astype(np.float64),
        distance=UNKNOWN_DISTANCE if result.distance is None else result.distance.value,
        directory=directory,
        caveats=tuple(result.caveats()),
        origin=np.array(source["geometry"]["bohr"]) if source.get("carried") else None,
        forgotten=forgotten,
    )
