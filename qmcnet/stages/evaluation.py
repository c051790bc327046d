"""The evaluation stage: the energy of the trained wavefunction, with an error bar."""

import logging
import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Row, Stage, StartsAgain, Trial, summarize
from qmcnet.states.measurements import MEASUREMENTS, Measurement, Points, local_matrices, make_operators
from qmcnet.states.slope import slope_of
from qmcnet.states.spectrum import Spectrum, spectrum
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.eigenstates import eigenstates, without_overlap
from qmcnet.statistics.learning import LearningCurve
from qmcnet.statistics.time_bins import separate
from qmcnet.statistics.window import Window, choose_window

logger = logging.getLogger(__name__)

FIRST_CHECK = 50
GROWTH = 1.25
"""Ratio of the steps at which the error is looked at: fewer looks find fewer errors that are small by chance."""


class Evaluation(Stage):
    """Samples with frozen parameters until the error target or the step limit."""

    name = "evaluation"
    table = "evaluation_stats.csv"
    of_trained = True

    def __init__(self, simulation: Simulation, settings: EvaluationSettings, observables: Collection[str] = ()) -> None:
        """Prepare the first sweep.

        Args:
            simulation: trained wavefunction and its walkers.
            settings: how long to evaluate.
            observables: names of what to measure besides the energy.
        """
        self.simulation, self.settings, self.step = simulation, settings, -settings.burn_in
        self.observables = observables
        molecule, device = simulation.molecule, simulation.generator.device
        self.operators, self.averages, self.points = make_operators(observables, molecule, device), Averages(), Points()
        self.grids = {name: MEASUREMENTS[name](molecule) for name in sorted({*MEASUREMENTS} & {*observables})}
        self.measurements: dict[str, Measurement] = {"points": self.points, **self.grids}
        self.error_reached, self.curve = False, LearningCurve()
        self.needed = settings.steps  # recorded steps for the error target, as far as is known
        self.known = "energy not known yet"  # when the error was looked at last

    @property
    def may_end_early(self) -> bool:
        """Whether an error target may be reached before all steps are made."""
        return self.settings.target_error is not None

    def finished(self) -> bool:
        """Whether the error target or the step limit is reached."""
        return self.settings.steps == 0 or self.step >= self.settings.steps or self.error_reached

    def progress(self) -> tuple[int, int]:
        """Recorded steps and those that will be recorded, as far as is known."""
        return max(self.step, 0), min(max(self.needed, self.step), self.settings.steps)

    def advance(self) -> Row:
        """Sweep and record the local energies; proposal widths adapt only before recording starts."""
        run, adapt = self.simulation, self.step < 0
        sampling = run.sweep(adapt=adapt)
        self.step += 1
        if adapt:
            return {}
        states = run.states()
        energy = run.local_energy(states)
        finite = self.averages.add(local_matrices(states, energy, self.operators))
        for measurement in self.measurements.values():
            measurement.add(states, finite)
        summary = summarize(energy)
        self.curve.add(summary["energy"], summary["variance"])
        self.error_reached = self._error_reached()
        return {**summary, **sampling}

    def status(self, row: Numbers) -> str:
        """Say where the energy was when the error was looked at; that of a single step is off by many error bars.

        Args:
            row: statistics of a step.

        Returns:
            A few words.
        """
        return f"{self.known}  pmove {row['pmove']:.2f}"

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare a recorded step to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            It.
        """
        settings = replace(self.settings, burn_in=0, target_error=None)
        return Trial(lambda: Evaluation(simulation, settings, self.observables).advance())

    def _error_reached(self) -> bool:
        due = max(self.settings.min_steps, FIRST_CHECK)
        while due < self.step:
            due = math.ceil(GROWTH * due)
        if due != self.step:
            return False
        window = choose_window(self.averages)
        first = window.states[0] if window.stationary else None
        self.known = f"energy {first.mean:.6f} +- {first.standard_error:.6f}" if first else "energy not known yet"
        if self.settings.target_error is None:
            return False
        if window.stationary and (target := self._target()) is not None:
            self.needed = math.ceil(self.step * (window.largest_error / target) ** 2)
        return self.needed <= self.step

    def _target(self) -> float | None:
        return self.settings.target(self.curve.look().typical_variance, slope_of(self.simulation.molecule))

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Estimate the energy and all that was measured of each state, and write the electron densities.

        Args:
            folder: where the result goes, and the cube files beside it.

        Returns:
            What `Result` says of energies and states, by its names.
        """
        window = choose_window(self.averages)
        measured, total = self.spectrum(window), window.total
        lowest = window.states[0] if window.stationary else None
        for grid in self.grids.values() if window.stationary else ():
            means = self.averages.means(window.discarded)
            vectors = eigenstates(without_overlap(means)["energy"][0])[1]
            grid.write(folder, self.simulation.molecule, means["overlap"][0], vectors, window.discarded)
        return {
            "energy": lowest.mean if lowest else None,
            "standard_error": lowest.standard_error if lowest else None,
            "tau": total.tau,
            "r_hat": total.r_hat,
            "n_effective": total.n_effective,
            "variance": total.variance,
            "typical_variance": self.curve.look().typical_variance,
            "outlier_share": window.far_out,
            "nonfinite": window.nonfinite,
            "nonfinite_observables": window.lost,
            "stationary": window.stationary,
            "reason": window.reason,
            "evaluation_steps": window.discarded + total.n_steps,
            "discarded_steps": window.discarded,
            "states": measured.states,
            "warnings": measured.warnings,
            "overlaps": measured.overlaps,
        }

    def spectrum(self, window: Window) -> Spectrum:
        """Say what was measured of each state.

        Args:
            window: the part of the evaluation that is averaged.

        Returns:
            Figures with error bars.
        """
        points, ensemble = self.points.after(window.discarded), self.simulation.ensemble
        sampled = None if points is None else points.numpy()
        n_electrons = self.simulation.molecule.n_electrons
        return spectrum(self.averages, window, self.operators, n_electrons, ensemble.overlaps, sampled)

    def state_dict(self) -> dict[str, Any]:
        """Return the step and what was averaged, which has the same size however long the evaluation is."""
        measured = {name: measurement.state_dict() for name, measurement in self.measurements.items()}
        return {"step": self.step, "averages": self.averages.state_dict(), "measurements": measured} | {
            "curve": self.curve.state_dict()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.

        Raises:
            StartsAgain: if it has not measured all that this one is to measure.
        """
        bins, measured = separate(state["averages"]["bins"]), state["measurements"]
        wanted = {operator.name for operator in self.operators}
        if (bins and not wanted <= {*bins[0]}) or not {*self.measurements} <= {*measured}:
            raise StartsAgain("these observables were not measured before")
        self.step, device = state["step"], self.simulation.generator.device
        self.averages.load_state_dict(state["averages"], device)
        self.curve = LearningCurve()
        if "curve" in state:  # which version 0.1 did not keep
            self.curve.load_state_dict(state["curve"], device)
        for name, measurement in self.measurements.items():
            measurement.load_state_dict(measured[name], device)
        # The target may be another one than when the state was saved.
        self.error_reached = self.step > 0 and self._error_reached()
