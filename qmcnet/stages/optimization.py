"""The optimisation stage: variational Monte Carlo."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from qmcnet.operators.operator import Observable
from qmcnet.optimizers import Clipping, Schedule
from qmcnet.optimizers.averaging import AveragingSettings, ParameterAverage
from qmcnet.stages.measurement import snapshot
from qmcnet.stages.objective import Natural, Objective
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row, summarize


class Optimizer(Protocol):
    """Changes the parameters of an ansatz to lower its energy."""

    def update(self, positions: Tensor, local_energy: Tensor, scale: float = 1.0) -> Row:
        """Make one change from the positions (B, N, 3) and energies (B,) of the walkers, with a scaled rate."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


class Optimization:
    """Alternates sampling and parameter updates."""

    name = "optimization"
    order = 2

    def __init__(
        self,
        simulation: Simulation,
        optimizer: Optimizer,
        steps: int,
        clipping: Clipping = Clipping(),
        schedule: Schedule = Schedule(),
        averaging: AveragingSettings = AveragingSettings(),
        objective: Objective = Natural(),
        observables: Sequence[Observable] = (),
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
            observables: what to measure now and then.
        """
        self.simulation, self.optimizer, self.steps, self.step = simulation, optimizer, steps, 0
        self.clipping, self.schedule, self.objective = clipping, schedule, objective
        self.observables = observables
        self.average = ParameterAverage(simulation.ansatz, averaging)

    def finished(self) -> bool:
        """Whether all updates have been made."""
        return self.step >= self.steps

    def progress(self) -> tuple[int, int]:
        """Updates made and planned."""
        return self.step, self.steps

    def advance(self) -> Row:
        """Sample, measure the local energy, and update the parameters once."""
        run = self.simulation
        run.walkers, sampling = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
        energy = run.hamiltonian.local_energy(run.ansatz, run.walkers.positions)
        clipped, outliers = self.clipping(self.objective(run, energy))
        update = self.optimizer.update(run.walkers.positions, clipped, self.schedule(self.step))
        self.step += 1
        self.average.update(self.step)
        return {**summarize(energy), **sampling, **outliers, **update}

    def observe(self) -> dict[str, float]:
        """Measure the observables once.

        Returns:
            Expectation values by tag.
        """
        return snapshot(self.simulation, self.observables) if self.observables else {}

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the state of the optimiser and the average of the parameters."""
        return {"step": self.step, "optimizer": self.optimizer.state_dict(), "average": self.average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
