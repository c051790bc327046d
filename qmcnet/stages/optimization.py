"""The optimisation stage: variational Monte Carlo."""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from qmcnet.compute.team import team
from qmcnet.operators import LocalEnergy, States
from qmcnet.operators.operator import Observable
from qmcnet.optimizers import Clipping, Schedule
from qmcnet.optimizers.averaging import AveragingSettings, ParameterAverage
from qmcnet.stages.forecast import predicted_memory
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Record, Row, Stage, Trial, summarize
from qmcnet.stages.trial import copied_for
from qmcnet.states.ensemble import Objective
from qmcnet.states.measurements import expectations, local_matrices
from qmcnet.states.natural import Natural
from qmcnet.states.slope import slope_of
from qmcnet.states.spectrum import MOST_FOLLOWED
from qmcnet.statistics.learning import LearningCurve, distance_of
from qmcnet.statistics.running import ExponentialMean
from qmcnet.statistics.zero_variance import steps_for

logger = logging.getLogger(__name__)

TAGS = {name: f"energy/{name}" for name in ("ewmean", "ewvar")} | {"energy": "energy/mean"}
TAGS |= {
    name: f"local_energy/{name}" for name in ("variance", "minimum", "maximum", "kinetic", "potential", "nonfinite")
}
TAGS |= {name: f"sampling/{name}" for name in ("pmove", "width", "stuck_share", "step_length", "log_prob")}
"""TensorBoard tags; what else a step has are terms of the Hamiltonian, energies of states, and the optimiser's."""
TYPICAL, DISTANCE = "local_energy/typical_variance", "energy/distance"
"""Tags of the variance that rare walkers do not carry away, and of the distance to the exact energy, in hartree."""
REPORTED = {
    "kernel_lifted": "%s up to step %d: rounding made %d kernels of the optimiser indefinite; they were damped at the "
    "level of rounding, or gave no step on a GPU. Further ones are counted as kernel_lifted; raise optimizer.damping "
    "if they are many",
    "skipped": "%s up to step %d: %d updates were left out, since scores or the solution for a direction were not "
    "finite. Further ones are counted as skipped; raise optimizer.damping, or use dtype=float64",
}
"""Counters whose first counts are worth a warning."""


class Optimizer(Protocol):
    """Changes the parameters of an ansatz to lower its energy."""

    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> Row:
        """Make one change from the positions (B, N, 3) and energies (B, G) of the walkers, with a scaled rate."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


class _Resting:
    """Takes no time and changes nothing, where the rest of a step is timed."""

    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> Row:
        """Change nothing."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load nothing."""


class Optimization(Stage):
    """Alternates sampling and parameter updates."""

    name = "optimization"
    table = "train_stats.csv"
    may_end_early = False
    tags = TAGS

    def __init__(
        self,
        simulation: Simulation,
        optimizer: Optimizer,
        steps: int,
        clipping: Clipping = Clipping(),
        schedule: Schedule = Schedule(),
        averaging: AveragingSettings = AveragingSettings(),
        objective: Objective = Natural(),
        operators: Sequence[Observable] = (),
        every: int = 10,
        accuracy: float | None = None,
    ) -> None:
        """Prepare the first step.

        Args:
            simulation: wavefunction and walkers.
            optimizer: changes the parameters of the same wavefunction.
            steps: parameter updates to make.
            clipping: of the local energies that the optimiser sees.
            schedule: share of its learning rate at each step.
            averaging: which average of the parameters is kept.
            objective: what is minimised.
            operators: what to measure now and then.
            every: steps between such measurements.
            accuracy: distance to the exact energy, in hartree, for which more steps are planned where these do not
                reach it; None makes the given number.
        """
        self.simulation, self.optimizer, self.steps, self.step = simulation, optimizer, steps, 0
        self.clipping = clipping.chosen(behind_cores=bool(simulation.molecule.ecp))
        self.schedule, self.objective, self.every, self.accuracy = schedule, objective, every, accuracy
        # What has more figures than are followed would take its time for nothing.
        self.operators = [operator for operator in operators if len(operator.components) <= MOST_FOLLOWED]
        self.average, self.running = ParameterAverage(simulation.ensemble, averaging), ExponentialMean()
        self.curve, self.typical, self.slope = LearningCurve(), math.nan, slope_of(simulation.molecule)
        self.penalties = objective.penalties(simulation.molecule)
        self.tags = TAGS | {term.name: f"local_energy/{term.name}" for term in simulation.hamiltonian.terms}
        self.observed: dict[str, Tensor] = {}  # local matrices when the observables were last measured
        self.counted = dict.fromkeys(REPORTED, 0)

    def finished(self) -> bool:
        """Whether all updates have been made."""
        return self.step >= self.steps

    def progress(self) -> tuple[int, int]:
        """Updates made and planned."""
        return self.step, self.steps

    def advance(self) -> Row:
        """Sample, measure the local energy, and update the parameters once."""
        run = self.simulation
        sampling = run.sweep()
        states = run.states()
        energy = run.local_energy(states)
        penalties = team().gather([states.local(part(states))[:, 0] for part in self.penalties], states.count)
        minimised = self.objective(energy, penalties)
        self._observe(states, energy)
        clipped, outliers = self.clipping(minimised)
        update = self.optimizer.update(run.walkers.positions, clipped, self.schedule(self.step, self.steps))
        self.step += 1
        self.average.update(self.step)
        summary = summarize(energy)
        self.curve.add(summary["energy"], summary["variance"])
        self._plan()
        return {**summary, **sampling, **outliers, **update}

    def _plan(self) -> None:
        """Plan more steps at the end of those planned, if they did not bring the accuracy that was asked for."""
        if self.accuracy is None or self.step < self.steps:
            return
        distance = team().first(self._distance)
        if distance is None or distance > self.accuracy:
            before, self.steps = self.steps, steps_for(self.accuracy, distance or math.inf, self.step)
            found = "not known" if distance is None else f"about {1e3 * distance:.2g} mHa"
            logger.info(
                "after %d steps the distance to the exact energy is %s: the rate rises again, and falls until step %d",
                before,
                found,
                self.steps,
            )

    def record(self, rows: Sequence[tuple[int, Numbers]]) -> Record:
        """Follow the energy, warn of bad updates, and give the observables last measured.

        Args:
            rows: step and statistics of each step since the last fetch.

        Returns:
            The rows with running mean and variance of the energy; lost where every update was left out.
        """
        recorded = []
        for step, row in rows:
            self.running = self.running.update(row["energy"])
            recorded.append((step, row | {"ewmean": self.running.mean, "ewvar": self.running.variance}))
        self._report(rows)
        lost = all(row.get("skipped") for _, row in rows)
        self.typical = statistics.median(row["variance"] for _, row in rows)
        scalars = {TYPICAL: self.typical} | expectations(self.observed, self.operators)
        if (distance := self._distance()) is not None:
            scalars[DISTANCE] = distance
        return Record(recorded, scalars, lost)

    def _report(self, rows: Sequence[tuple[int, Numbers]]) -> None:
        """Warn when something is counted for the first time."""
        for name, sentence in REPORTED.items():
            count = sum(int(row.get(name, 0)) for _, row in rows)
            if count and not self.counted[name]:
                logger.warning(sentence, self.name, self.step, count)
            self.counted[name] += count

    def _observe(self, states: States, energy: LocalEnergy) -> None:
        """Measure the observables every few steps, before the parameters of these states change."""
        if not self.operators or (self.step + 1) % self.every:
            return
        random_numbers = self.simulation.generator.get_state()
        self.observed = local_matrices(states, energy, self.operators)
        self.simulation.generator.set_state(random_numbers)  # how often one looks must not change what comes

    def tag(self, column: str) -> str:
        """Name a column of the table in TensorBoard.

        Args:
            column: its name in the table.

        Returns:
            The tag.
        """
        return self.tags.get(column, f"energy/{column}" if column.startswith("state_") else f"opt/{column}")

    def status(self, row: Numbers) -> str:
        """Say how the energy stands.

        Args:
            row: statistics of a step.

        Returns:
            A few words.
        """
        bad = f"  non-finite {row['nonfinite']:.0f}" if row["nonfinite"] else ""
        return f"E {row['ewmean']:.5f}  variance {self.typical:.4f}  pmove {row['pmove']:.2f}{bad}"

    def memory(self) -> float | None:
        """Predict what a step needs, in GiB on top of parameters and walkers; None where shapes do not tell."""
        return predicted_memory(self.simulation, self.optimizer)

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare moves with local energies, and an update, to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            Both.
        """
        ensemble = simulation.ensemble
        optimizer = copied_for(self.optimizer, self.simulation.ensemble, ensemble)

        def update() -> None:
            """Update for any energies: they do not decide how long it takes."""
            positions = simulation.walkers.positions
            n_functions = ensemble.factors(positions[:1]).shape[-1]
            energies = torch.linspace(-1, 1, len(positions) * n_functions, dtype=torch.float64, device=positions.device)
            optimizer.update(positions, energies.view(-1, n_functions))

        how = (self.clipping, self.schedule, AveragingSettings(), self.objective)
        sampling = Optimization(simulation, _Resting(), self.steps, *how)
        return Trial(sampling.advance, update, lambda: predicted_memory(simulation, optimizer))

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Give the wavefunction its averaged parameters.

        Args:
            folder: where the result goes.

        Returns:
            Energies, errors and variances of a few parts of the late training, for the distance to the ground state.
        """
        if self.average.count:
            logger.info("evaluating the average of the parameters after %d steps", self.average.count)
            self.average.apply()
        return self.learned()

    def learned(self) -> Mapping[str, Any]:
        """Energies, errors and variances of a few parts of the late training; nothing where it is too short."""
        distance = self._distance()
        return {} if distance is None else {**self.curve.look().points()._asdict(), "distance": distance}

    def _distance(self) -> float | None:
        """Energy above the exact one, in hartree, as the late training tells it; None where it does not."""
        return None if self.simulation.limited else distance_of(self.curve.look().points(), self.slope)

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the state of the optimiser, and averages of the parameters and of the energy."""
        averages = {"average": self.average.state_dict(), "running": asdict(self.running)}
        averages |= {"curve": self.curve.state_dict()}
        return {"step": self.step, "steps": self.steps, "optimizer": self.optimizer.state_dict(), **averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.running = ExponentialMean(**state["running"])
        self.curve = LearningCurve()
        if "curve" in state:  # which version 0.1 did not keep
            self.curve.load_state_dict(state["curve"], self.simulation.walkers.positions.device)
        if self.accuracy is not None:
            self.steps = max(self.steps, state.get("steps", 0))
            self._plan()
