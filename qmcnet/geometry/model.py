"""A model of the energy surface near a structure at rest, from energies and forces with errors.

What is known of each point x_i, displaced by q_i from the centre of the model, is its energy and its forces,

    E_i = S(q_i) + c d_i + noise,    F_i = -S'(q_i) + b - u K_i (q_i - o_i) + noise.

S is a polynomial, whose Hessian is about that of a mean field. d_i is how far the energy of the run is above the exact
one, as `distances` tells, and c is about 1: a run that was trained for longer, and is lower, is not taken for a lower
place. b is what forces are off by because the wavefunction is not exact, and it is common to all points: a
part of forces that energies contradict. The parameters of a network that was carried from o_i lag behind, which forces
see in first order and energies in second: they pull it back, about with the stiffness K_i that `SurfacePoint.pull`
tells, and u, a number for each direction, is 1 give or take 1. All of it is linear, and the posterior of S, b, u and c
is a Gaussian.

Letters: A nuclei, n internal coordinates, p coefficients, m numbers known, K samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmcnet.geometry.coordinates import aligned, internal_directions
from qmcnet.geometry.point import SurfacePoint, distances, own_error, scatter
from qmcnet.geometry.polynomial import Polynomial
from qmcnet.report.forces import left_out

Array = NDArray[np.float64]

WIDTH = 0.3
"""How far the Hessian of a mean field may be off, as a share of its force constants."""
SOFTEST = 0.02
"""Smallest force constant that is expected, in hartree/bohr^2."""
FALLING = -1e-3
"""Force constant of a mean field, in hartree/bohr^2, below which it is at a saddle point."""
SCALE = 0.5
"""How far the estimates of all distances may be off by a common factor."""
SAMPLES = 400
CENTRAL = (0.1587, 0.8413)
"""Quantiles of a Gaussian one standard deviation from its mean."""
STEPS = 50
"""Most of Newton's steps to a minimum."""


@dataclass(frozen=True)
class Model:
    """The posterior of a surface about a centre.

    Attributes:
        centre: positions of the nuclei, shape (A, 3), in bohr.
        directions: orthonormal internal directions, shape (3 A, n).
        polynomial: the monomials.
        mean: their coefficients, shape (p,).
        samples: coefficients drawn from the posterior, shape (K, p).
        offset: b and its error along each direction, each (n,), in hartree/bohr.
        chi2: sum of the squares of what the model leaves of the numbers known, in their expected sizes.
        known: how many they are.
    """

    centre: Array
    directions: Array
    polynomial: Polynomial
    mean: Array
    samples: Array
    offset: tuple[Array, Array]
    chi2: float
    known: int

    @classmethod
    def fit(cls, points: Sequence[SurfacePoint], centre: Array, hessian: Array, width: float = WIDTH) -> "Model":
        """Find the posterior.

        Args:
            points: with energies and forces; one at least.
            centre: positions of the nuclei to expand about, shape (A, 3), in bohr.
            hessian: of a mean field there, shape (3 A, 3 A), in hartree/bohr^2.
            width: how far it may be off, as a share of its force constants.

        Returns:
            The model.
        """
        inside = internal_directions(centre)
        constants, axes = np.linalg.eigh(inside.T @ hessian @ inside)
        directions = inside @ axes
        sizes = np.maximum(np.abs(constants), SOFTEST)
        polynomial = Polynomial(sizes, width, np.where(constants < FALLING, constants, sizes))
        design, numbers, noise = equations(points, centre, directions, polynomial)
        n, (means, widths) = len(constants), polynomial.expected()
        distance = float(distances(points).mean())
        off = [left_out(distance, constant) for constant in polynomial.constants]
        means = np.concatenate([means, np.zeros(n), np.ones(n), [1.0]])
        widths = np.concatenate([widths, off, np.ones(n), [SCALE]])
        gain = (widths**2 * design).T @ np.linalg.inv(design * widths**2 @ design.T + noise)
        left = numbers - design @ means
        found = means + gain @ left
        generator, root = np.random.default_rng(0), np.linalg.cholesky(noise)
        drawn = means + widths * generator.standard_normal((SAMPLES, len(means)))
        seen = drawn @ design.T + generator.standard_normal((SAMPLES, len(numbers))) @ root.T
        samples = drawn + (numbers - seen) @ gain.T
        p = len(polynomial.terms)
        offset = found[p : p + n], samples[:, p : p + n].std(0)
        chi2 = float(left @ np.linalg.solve(design * widths**2 @ design.T + noise, left))
        return cls(centre, directions, polynomial, found[:p], samples[:, :p], offset, chi2, len(numbers))

    def coordinates(self, nuclei: Array) -> Array:
        """Find displacements from the centre.

        Args:
            nuclei: positions, shape (A, 3), in bohr.

        Returns:
            Shape (n,).
        """
        return _displacements(nuclei, self.centre, self.directions)[0]

    def nuclei(self, place: Array) -> Array:
        """Displace the nuclei of the centre.

        Args:
            place: displacements, shape (..., n).

        Returns:
            Shape (..., A, 3), in bohr.
        """
        return self.centre + (place @ self.directions.T).reshape(*place.shape[:-1], *self.centre.shape)

    def minimum(self, start: Array) -> Array | None:
        """Find where the energy is lowest.

        Args:
            start: displacements to begin at, shape (n,).

        Returns:
            Displacements; None where the surface has no minimum near.
        """
        place = start
        for _ in range(STEPS):
            hessian = self.polynomial.hessian(place, self.mean)
            if np.linalg.eigvalsh(hessian)[0] <= 0:
                return None
            step = np.linalg.solve(hessian, self.polynomial.gradient(place, self.mean))
            place = place - step
            if np.abs(step).max() < 1e-10:
                return place
        return None

    def newton(self, place: Array) -> Array:
        """Step towards the minimum with the curvature there, made positive.

        Args:
            place: displacements, shape (n,).

        Returns:
            The step, shape (n,).
        """
        values, axes = np.linalg.eigh(self.polynomial.hessian(place, self.mean))
        stiffness = np.maximum(np.abs(values), SOFTEST)
        return np.asarray(-axes @ (axes.T @ self.polynomial.gradient(place, self.mean) / stiffness))

    def descent(self) -> Array | None:
        """Find the direction in which the surface falls to both sides of the centre most.

        Returns:
            A unit vector, downhill, shape (n,); None where no curvature is negative beyond its error.
        """
        origin = np.zeros(len(self.polynomial.constants))
        axis = np.linalg.eigh(self.polynomial.hessian(origin, self.mean))[1][:, 0]
        curvatures = self.polynomial.hessian(origin, np.vstack([self.mean, self.samples])) @ axis @ axis
        uphill = axis @ self.polynomial.gradient(origin, self.mean) > 0
        return (-axis if uphill else axis) if curvatures[0] + curvatures[1:].std() < 0 else None

    def minima(self, place: Array) -> Array:
        """Find the minimum of each sample.

        Args:
            place: that of the mean, shape (n,).

        Returns:
            Displacements, shape (K, n), by a step from there; NaN of samples that have no minimum.
        """
        gradients = self.polynomial.gradient(place, self.samples)
        hessians = self.polynomial.hessian(place, self.samples)
        found = place - np.linalg.solve(hessians, gradients[..., None])[..., 0]
        return np.where(np.linalg.eigvalsh(hessians)[:, :1] > 0, found, np.nan)

    def force_errors(self, place: Array) -> Array:
        """Estimate errors of the forces along the directions.

        Args:
            place: displacements, shape (n,).

        Returns:
            Standard deviations, shape (n,), in hartree/bohr.
        """
        return np.asarray(self.polynomial.gradient(place, self.samples).std(0))


def spread_of(function: Callable[[Array], Array], samples: Array) -> Array:
    """Find the errors of what follows from a structure: half the width of the central 68 % of all samples.

    Where few points tell the curvature, that of some samples nearly vanishes, and their structures are far away.

    Args:
        function: of positions (A, 3).
        samples: positions, shape (K, A, 3), NaN of those that are unknown.

    Returns:
        Standard errors, of the shape of what the function returns.
    """
    known = [sample for sample in samples if np.isfinite(sample).all()]
    lower, upper = np.quantile([function(sample) for sample in known], CENTRAL, 0)
    return np.asarray((upper - lower) / 2)


def equations(
    points: Sequence[SurfacePoint], centre: Array, directions: Array, polynomial: Polynomial
) -> tuple[Array, Array, Array]:
    """Write what is known as linear equations of the coefficients, b, u and c.

    Args:
        points: with energies and forces.
        centre: positions of the nuclei that displacements are from, shape (A, 3), in bohr.
        directions: of the coordinates, shape (3 A, n).
        polynomial: the monomials.

    Returns:
        Design (m, p + 2 n + 1), numbers (m,) and the covariance of their noise (m, m).
    """
    n, lowest = directions.shape[1], min(point.energy for point in points)
    rows, numbers, blocks = [], [], []
    for point, distance in zip(points, distances(points), strict=True):
        place, rotation = _displacements(point.nuclei, centre, directions)
        lag = np.zeros(n) if point.origin is None else place - _displacements(point.origin, centre, directions)[0]
        beyond_energy, beyond_slope = (float(part[0]) for part in polynomial.left_out(place[None]))
        energy = np.hstack([polynomial.values(place[None]), np.zeros((1, 2 * n)), [[distance]]])
        pull = np.diag(-lag * point.pull(polynomial.constants))
        slopes = np.hstack([-polynomial.slopes(place[None])[0], np.eye(n), pull, np.zeros((n, 1))])
        turned = np.kron(np.eye(len(centre)), rotation) @ directions  # from the frame of the point
        own = np.array([own_error(distance, each) for each in polynomial.constants])
        rows += [energy, slopes]
        numbers += [np.array([point.energy - lowest]), point.forces.ravel() @ turned]
        blocks += [np.array([[point.error**2 + scatter(distance) ** 2 + beyond_energy**2]])]
        blocks += [turned.T @ point.covariance @ turned + np.diag(own**2 + beyond_slope**2)]
    size = sum(map(len, blocks))
    noise, at = np.zeros((size, size)), 0
    for block in blocks:
        noise[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return np.vstack(rows), np.concatenate(numbers), noise


def _displacements(nuclei: Array, centre: Array, directions: Array) -> tuple[Array, Array]:
    """Find displacements from a centre, shape (n,), and the rotation that takes nuclei there."""
    moved, rotation = aligned(nuclei, centre)
    return np.asarray((moved - centre).ravel() @ directions), rotation
