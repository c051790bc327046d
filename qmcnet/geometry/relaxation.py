"""The search for a structure at rest: where to look next, and when to stop.

Three things are done in turn until nothing is left to do: steps to the minimum of the model, as long as forces are
larger than their errors and than what is asked for, or vanish at a saddle point; pairs of points on both sides of the
minimum, along directions in which it is not known well enough, since energies correct what forces are off by; and,
where frequencies are asked for, such pairs along all directions.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from qmcnet.geometry.model import Model
from qmcnet.geometry.point import SurfacePoint
from qmcnet.geometry.polynomial import QUARTIC
from qmcnet.geometry.surface import Points
from qmcnet.system.geometry import moved
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)
Array = NDArray[np.float64]

RISE = 4e-3
"""Energy, in hartree, by which points on both sides of a minimum lie higher, where energies are compared."""
NEAREST, FARTHEST = 0.03, 0.3
"""Bounds of displacements, in bohr."""
NO_MINIMUM = "the surface has no minimum near"


def no_break() -> None:
    """Go on."""


@dataclass
class Search:
    """A search under way; the same points give the same next one.

    Attributes:
        surface: gives energies and forces.
        mean_field: gives the Hessian that is expected at a geometry.
        trust_radius: longest first step, in bohr.
        max_force: size of forces, in hartree/bohr, that does not matter, and that errors of forces are to reach.
        geometries: most points, without those that frequencies need.
        pause: called before each point; raises to stop there.
        points: those found so far.
        aside: how many of them are for frequencies alone.
        here: the structure that the model is expanded about.
    """

    surface: Points
    mean_field: Callable[[Molecule], Array]
    trust_radius: float
    max_force: float
    geometries: int
    pause: Callable[[], None] = no_break
    points: list[SurfacePoint] = field(default_factory=list)
    aside: int = 0
    here: Molecule = field(init=False)
    expected: Array = field(init=False)

    def relax(self, start: Molecule, frequencies: bool) -> tuple[Model, Array | None, str]:
        """Look for the structure at rest.

        Args:
            start: where to begin.
            frequencies: look also on both sides of it along all directions.

        Returns:
            The model at the end, the displacements of its minimum, shape (n,), None where it has none, and why the
            structure is not at rest, or an empty text.
        """
        self._go_to(start, "the start")
        while True:
            trouble = self._walk() or self._pin()
            if not trouble and frequencies:
                self._straddle()
            model, place = self._model()
            if trouble or (place is not None and settled(model, self.max_force)):
                return model, place, trouble
            if self._full():
                return model, place, f"after {len(self.points)} geometries it still moves"
            if place is not None:
                self._go_to(self._displaced(model, place), "the minimum")

    def _walk(self) -> str:
        """Step until the forces are small, or not larger than their errors; say what is in the way, if anything is."""
        trust = self.trust_radius
        while True:
            model, place = self._model()
            at_rest = settled(model, self.max_force)
            if place is not None and at_rest:
                return ""
            if self._full():
                why = NO_MINIMUM if at_rest else "its forces are still larger than their errors"
                return f"after {len(self.points)} geometries {why}"
            downhill = model.descent() if at_rest else None
            if downhill is not None:
                why = f"a step of {self.trust_radius:.3f} bohr off a saddle point"
                self._go_to(self._displaced(model, self.trust_radius * downhill), why)
                continue
            step = model.newton(np.zeros(len(model.polynomial.constants))) if place is None else place
            step *= min(1.0, trust / float(np.linalg.norm(step)))
            self._go_to(self._displaced(model, step), f"a step of {np.linalg.norm(step):.3f} bohr")
            falls = self._falls(*self.points[-2:])
            trust = min(1.5 * trust, 2 * self.trust_radius) if falls else trust / 2

    @staticmethod
    def _falls(before: SurfacePoint, after: SurfacePoint) -> bool:
        """Whether a step has made forces smaller, or the energy: away from a saddle point forces grow."""
        lower = before.energy - after.energy > math.hypot(before.error, after.error)
        return lower or float(np.linalg.norm(after.forces)) < float(np.linalg.norm(before.forces))

    def _pin(self) -> str:
        """Look on both sides of the minimum where its forces are known worse than is asked for, at the worst first."""
        while True:
            model, place = self._model()
            if place is None:
                return NO_MINIMUM if model.descent() is None else ""
            errors, reach = model.force_errors(place), np.sqrt(2 * RISE / model.polynomial.constants)
            reach = np.clip(reach, NEAREST, FARTHEST)
            open_ones = [i for i in range(len(place)) if not self._straddled(model, place, i, reach[i])]
            wanted = [i for i in open_ones if errors[i] > self.max_force]
            if not wanted or self._full(2):
                return ""
            worst = max(wanted, key=lambda i: errors[i] / model.polynomial.constants[i])
            # With such errors the difference of both energies tells a force to max_force.
            self._both_sides(model, place, worst, reach, "energies", math.sqrt(2) * reach[worst] * self.max_force)

    def _straddle(self) -> None:
        """Look on both sides along all directions, so far that neither noise nor higher orders spoil the curvature."""
        model, place = self._model()
        if place is None:
            return
        noise = max(point.worst_error for point in self.points)
        reach = (noise / (QUARTIC / 3 * model.polynomial.constants)) ** (1 / 3)
        reach = np.clip(reach, NEAREST, FARTHEST)
        for i in range(len(place)):
            if not self._straddled(model, place, i, reach[i]):
                self._both_sides(model, place, i, reach, "frequencies")
                self.aside += 2

    def _both_sides(
        self, model: Model, place: Array, i: int, reach: Array, purpose: str, energy_error: float | None = None
    ) -> None:
        for sign in (1, -1):
            target = place + sign * reach[i] * np.eye(len(place))[i]
            why = f"{sign * reach[i]:+.3f} bohr along mode {i + 1}, for {purpose}"
            self._add(self._displaced(model, target), why, energy_error)

    def _straddled(self, model: Model, place: Array, i: int, reach: float) -> bool:
        """Whether there are points on both sides of a place along a direction, about as far as is wanted."""
        found = np.array([model.coordinates(point.nuclei) - place for point in self.points])
        aside = np.linalg.norm(np.delete(found, i, 1), axis=1)
        along = found[(aside < reach / 2) & (np.abs(found[:, i]) < 2 * reach), i]
        return bool((along > reach / 2).any() and (along < -reach / 2).any())

    def _model(self) -> tuple[Model, Array | None]:
        """Fit all points, about where the search is, and find the minimum."""
        model = Model.fit(self.points, np.array(self.here.coordinates), self.expected)
        place = model.minimum(np.zeros(len(model.polynomial.constants)))
        far = place is not None and np.linalg.norm(place) > 2 * max(FARTHEST, self.trust_radius)
        return model, None if far else place

    def _displaced(self, model: Model, place: Array) -> Molecule:
        return moved(self.here, model.nuclei(place))

    def _go_to(self, molecule: Molecule, why: str) -> None:
        self._add(molecule, why)
        self.here, self.expected = self.points[-1].molecule, self.mean_field(self.points[-1].molecule)

    def _add(self, molecule: Molecule, why: str, energy_error: float | None = None) -> None:
        self.pause()
        logger.info("geometry %d: %s", len(self.points), why)
        self.points.append(point := self.surface(molecule, energy_error))
        largest = np.abs(point.forces).max()
        logger.info(
            "geometry %d: energy %.6f +- %.6f hartree, largest force %.2g +- %.1g mHa/bohr",
            len(self.points) - 1,
            point.energy,
            point.error,
            1e3 * largest,
            1e3 * point.worst_error,
        )

    def _full(self, more: int = 1) -> bool:
        """Whether there are as many geometries as there may be."""
        return len(self.points) - self.aside + more > self.geometries


def settled(model: Model, max_force: float) -> bool:
    """Tell whether the centre of a model is at rest.

    Args:
        model: fitted to all points.
        max_force: size of forces that does not matter, in hartree/bohr.

    Returns:
        Whether no force is larger than that, or than the largest of as many errors.
    """
    origin = np.zeros(n := len(model.polynomial.constants))
    forces = np.abs(model.polynomial.gradient(origin, model.mean))
    # The largest of n Gaussians stays below this as often as a single one below its standard deviation.
    largest = NormalDist().inv_cdf((1 + (2 * NormalDist().cdf(1) - 1) ** (1 / n)) / 2)
    return bool((forces <= np.maximum(max_force, largest * model.force_errors(origin))).all())
