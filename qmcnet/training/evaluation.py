"""The evaluation stage: the energy of the trained wavefunction, with an error bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qmcnet.observables.density import DensityAverage, DensityGrid
from qmcnet.observables.observable import Observable
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import eigenstates, without_overlap
from qmcnet.statistics.estimate import Estimate, estimate
from qmcnet.training.measurement import local_matrices, points_and_states, state_values
from qmcnet.training.simulation import Simulation
from qmcnet.training.spectrum import Spectrum, spectrum
from qmcnet.training.stages import Row, summarize

DISCARDED_SHARES = (0.0, 0.25, 0.5)
MOST_WALKERS = 20_000
"""Walkers whose values are kept for the overlaps of states."""


@dataclass(frozen=True)
class EvaluationSettings:
    """How long to evaluate.

    Attributes:
        steps: largest number of recorded steps; 0 turns evaluation off.
        target_error: standard error, in hartree, at which to stop, of several states that of their mean energy; None
            uses all steps.
        min_steps: recorded steps before the error may stop the evaluation.
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
            raise ValueError(
                f"evaluation needs steps, min_steps, burn_in >= 0, got {self.steps}, {self.min_steps}, {self.burn_in}"
            )
        if self.target_error is not None and not self.target_error > 0:
            raise ValueError(f"evaluation target_error={self.target_error} must be positive, or null")

    def met_by(self, steps: int, standard_error: float | None) -> bool:
        """Tell whether an earlier evaluation is as good as one with these settings.

        Args:
            steps: recorded steps.
            standard_error: of the energy, in hartree; None if there is no estimate.

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
    check_every = 50

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
        self.series: list[torch.Tensor] = []
        self.observables, self.averages = observables, Averages()
        self.points: list[torch.Tensor] = []
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
            self.series.append(energy.real.total)
            self.averages.add(local_matrices(run, energy, self.observables))
            few = len(self.points) * len(run.walkers.positions) < MOST_WALKERS
            if energy.matrix is not None and self.step % self.check_every == 0 and few:
                self.points.append(state_values(run).values)
            if self.density is not None:
                self.density.add(*points_and_states(run))
            self.error_reached = self._error_reached()
        return {**summarize(energy), **sampling}

    def _error_reached(self) -> bool:
        target = self.settings.target_error
        # Checks take longer as the series grows, so they become rarer.
        interval = self.check_every * max(1, self.step // 1000)
        if target is None or self.step % interval or self.step < self.settings.min_steps:
            return False
        result = self.estimate()[0]
        n_states = self.averages.n_states
        return result.stationary and result.standard_error <= n_states * target

    def local_energies(self) -> np.ndarray:
        """Recorded local energies, shape (steps, B), in hartree; non-finite ones are NaN."""
        n_walkers = len(self.simulation.walkers.positions)
        series = torch.stack(self.series).cpu().numpy() if self.series else np.empty((0, n_walkers))
        return np.where(np.isfinite(series), series, np.nan)

    def estimate(self) -> tuple[Estimate, int, int]:
        """Estimate the energy from the longest stationary tail of the series.

        Returns:
            The estimate, the number of steps discarded at the start, and the number of non-finite energies left
            out (their walkers are dropped from the estimate).
        """
        series = self.local_energies()
        bad = np.isnan(series)
        kept = series[:, ~bad.any(0)]
        if kept.size < 2:
            reason = "no walker has only finite energies" if bad.any() else "nothing was recorded"
            nan, (n_steps, n_walkers) = math.nan, kept.shape
            unknown = Estimate(nan, nan, nan, nan, nan, nan, n_steps, n_walkers, stationary=False, reason=reason)
            return unknown, 0, int(bad.sum())
        for share in DISCARDED_SHARES:
            discarded = int(share * len(kept))
            result = estimate(kept[discarded:])
            if result.stationary:
                break
        return result, discarded, int(bad.sum())

    def spectrum(self, discarded: int) -> Spectrum:
        """Say what was measured of each state.

        Args:
            discarded: steps to leave out at the start.

        Returns:
            Figures with error bars.
        """
        points = torch.cat(self.points).cpu().numpy() if self.points else None
        n_electrons = self.simulation.molecule.n_electrons
        return spectrum(self.averages, self.observables, n_electrons, discarded / max(self.step, 1), points)

    def write_cubes(self, folder: Path) -> None:
        """Write the electron density of each state, where it was measured.

        Args:
            folder: where the cube files go.
        """
        if self.density is not None and self.density.n_walkers:
            means = self.averages.means()
            vectors = eigenstates(without_overlap(means)["energy"][0])[1]
            identity = means["overlap"][0] if "overlap" in means else np.eye(len(vectors))
            self.density.write(folder, self.simulation.molecule, np.linalg.inv(identity @ vectors), vectors)

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the recorded energies."""
        series = torch.stack(self.series) if self.series else torch.empty(0)
        state = {"step": self.step, "series": series, "averages": self.averages.state_dict()}
        density = {} if self.density is None else self.density.state_dict()
        return state | {"points": list(self.points), "density": density}

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
        self.series = list(state["series"].to(device).unbind(0))
        self.averages.load_state_dict(state["averages"], device)
        self.points = [values.to(device) for values in state["points"]]
        if self.density is not None:
            self.density.load_state_dict(state["density"], device)
        # The target may be another one than when the state was saved.
        self.error_reached = self.step > 0 and self._error_reached()
