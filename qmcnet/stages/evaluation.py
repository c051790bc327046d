"""The evaluation stage: the energy of the trained wavefunction, with an error bar."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qmcnet.operators.density import DensityGrid
from qmcnet.operators.operator import Observable
from qmcnet.stages.measurement import local_matrices, points_and_states, state_values
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row, summarize
from qmcnet.states.density import DensityAverage, from_total
from qmcnet.states.spectrum import Spectrum, spectrum
from qmcnet.statistics.averages import Averages, from_series
from qmcnet.statistics.eigenstates import eigenstates, without_overlap
from qmcnet.statistics.window import Window, choose_window

logger = logging.getLogger(__name__)

MOST_WALKERS = 20_000
"""Walkers whose values are kept for the overlaps of states."""
FIRST_CHECK = 50
GROWTH = 1.25
"""Ratio of the steps at which the error is looked at: fewer looks find fewer errors that are small by chance."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How long to evaluate.

    Attributes:
        steps: largest number of recorded steps; 0 turns evaluation off.
        target_error: standard error, in hartree, of the energy of every state, at which to stop; None uses all steps.
        min_steps: recorded steps at which the error is looked at first, 50 at least; then after a quarter more steps
            each time.
        burn_in: sweeps made before recording.
    """

    steps: int = 1000
    target_error: float | None = None
    min_steps: int = 100
    burn_in: int = 50

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a number out of range.
        """
        if min(self.steps, self.min_steps, self.burn_in) < 0:
            name, value = min(self.__dict__.items(), key=lambda item: 0 if item[0] == "target_error" else item[1])
            raise ValueError(f"evaluation {name}={value} must not be negative")
        if self.target_error is not None and not self.target_error > 0:
            raise ValueError(f"evaluation target_error={self.target_error} must be positive, or null")

    def say_unreachable(self) -> None:
        """Warn where the error is never looked at."""
        if self.target_error is not None and 0 < self.steps < self.min_steps:
            logger.warning(
                "evaluation.min_steps=%d is more than evaluation.steps=%d: target_error is never looked at",
                self.min_steps,
                self.steps,
            )

    def met_by(self, steps: int, standard_error: float | None) -> bool:
        """Tell whether an earlier evaluation is as good as one with these settings.

        Args:
            steps: recorded steps.
            standard_error: largest of the energies of all states, in hartree; None if there is no estimate.

        Returns:
            Whether nothing is left to do.
        """
        if self.steps == 0 or standard_error is None:
            return self.steps == 0
        return steps >= self.steps or (self.target_error is not None and standard_error <= self.target_error)

    def label(self, averaged: bool, observables: Sequence[str]) -> str:
        """Name the series that an evaluation belongs to: larger `steps` and smaller errors continue the same.

        Args:
            averaged: whether averaged parameters are evaluated.
            observables: names of what is measured besides the energy.

        Returns:
            Text that sets the series apart.
        """
        return ",".join([f"burn_in={self.burn_in}", *["averaged=false"] * (not averaged), *observables])


class Evaluation:
    """Samples with frozen parameters until the error target or the step limit."""

    name = "evaluation"
    order = 3

    def __init__(
        self,
        simulation: Simulation,
        settings: EvaluationSettings,
        observables: Sequence[Observable] = (),
        grid: DensityGrid | None = None,
    ) -> None:
        """Prepare the first sweep.

        Args:
            simulation: trained wavefunction and its walkers.
            settings: how long to evaluate.
            observables: what to measure besides the energy.
            grid: where to count electrons.
        """
        self.simulation, self.settings = simulation, settings
        self.step = -settings.burn_in
        self.observables, self.averages = observables, Averages()
        self.points: list[torch.Tensor] = []
        self.steps_per_point = 50
        self.density = None if grid is None else DensityAverage(grid)
        self.error_reached = False

    def finished(self) -> bool:
        """Whether the error target or the step limit is reached."""
        return self.settings.steps == 0 or self.step >= self.settings.steps or self.error_reached

    def progress(self) -> tuple[int, int]:
        """Recorded steps and the most that will be recorded."""
        return max(self.step, 0), self.settings.steps

    def advance(self) -> Row:
        """Sweep and record the local energies; proposal widths adapt only before recording starts."""
        run = self.simulation
        adapt = self.step < 0
        run.walkers, sampling = run.sampler.sweep(run.log_prob, run.walkers, run.generator, adapt=adapt)
        energy = run.hamiltonian.local_energy(run.ansatz, run.walkers.positions)
        self.step += 1
        if not adapt:
            finite = self.averages.add(local_matrices(run, energy, self.observables))
            if energy.matrix is not None and self.step % self.steps_per_point == 0:
                self._keep_points(finite)
            if self.density is not None:
                self.density.add(*points_and_states(run), finite)
            self.error_reached = self._error_reached()
        return {**summarize(energy), **sampling}

    def _keep_points(self, finite: torch.Tensor) -> None:
        """Keep the states at all walkers for their overlaps; when there are many, at half as many steps."""
        run = self.simulation
        if self.points and (len(self.points) + 1) * len(run.walkers.positions) > MOST_WALKERS:
            self.points, self.steps_per_point = self.points[1::2], 2 * self.steps_per_point
            if self.step % self.steps_per_point:
                return
        values = state_values(run).values.unflatten(0, (len(finite), -1))  # (B, S, S)
        self.points.append(torch.where(finite[:, None, None], values, torch.nan).flatten(0, 1))

    def _error_reached(self) -> bool:
        target, due = self.settings.target_error, max(self.settings.min_steps, FIRST_CHECK)
        if target is None:
            return False
        while due < self.step:
            due = math.ceil(GROWTH * due)
        if due != self.step:
            return False
        window = self.window()
        return window.stationary and window.largest_error <= target

    def window(self) -> Window:
        """Find the part of the evaluation that is averaged.

        Returns:
            Its place, and the energies of all states in it.
        """
        return choose_window(self.averages)

    def spectrum(self, window: Window) -> Spectrum:
        """Say what was measured of each state.

        Args:
            window: the part of the evaluation that is averaged.

        Returns:
            Figures with error bars.
        """
        # Points are kept at multiples of `steps_per_point`.
        kept = self.points[window.discarded // self.steps_per_point :]
        points = torch.cat(kept).cpu().numpy() if kept else None
        if points is not None:
            points = points[np.isfinite(points).all(-1)]
        n_electrons = self.simulation.molecule.n_electrons
        return spectrum(self.averages, window, self.observables, n_electrons, points)

    def write_cubes(self, folder: Path, window: Window) -> None:
        """Write the electron density of each state, where it was measured and the evaluation is stationary.

        Args:
            folder: where the cube files go.
            window: the part of the evaluation that is averaged.
        """
        if self.density is not None and window.stationary:
            means = self.averages.means(window.discarded)
            vectors = eigenstates(without_overlap(means)["energy"][0])[1]
            identity = means["overlap"][0] if "overlap" in means else np.eye(len(vectors))
            left = np.linalg.inv(identity @ vectors)
            self.density.write(folder, self.simulation.molecule, left, vectors, window.discarded)

    def state_dict(self) -> dict[str, Any]:
        """Return the step and what was averaged, which has the same size however long the evaluation is."""
        density = {} if self.density is None else self.density.state_dict()
        points = {"points": list(self.points), "steps_per_point": self.steps_per_point}
        return {"step": self.step, "averages": self.averages.state_dict(), "density": density} | points

    def measured(self, state: dict[str, Any]) -> bool:
        """Tell whether a saved evaluation has measured what this one is to measure.

        Args:
            state: what `state_dict` returned.

        Returns:
            Whether it can be continued.
        """
        bins = state["averages"]["bins"]
        lacking = bins and not {observable.name for observable in self.observables} <= set(bins[0])
        return not lacking and (self.density is None or bool(state["density"]))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        device = self.simulation.walkers.positions.device
        averages, density = state["averages"], state["density"]
        if "series" in state:  # of version 0.1.0
            averages, density = from_series(averages, state["series"]), density and from_total(density, self.step)
        self.averages.load_state_dict(averages, device)
        self.points = [values.to(device) for values in state["points"]]
        self.steps_per_point = state.get("steps_per_point", self.steps_per_point)
        if self.density is not None:
            self.density.load_state_dict(density, device)
        # The target may be another one than when the state was saved.
        self.error_reached = self.step > 0 and self._error_reached()
