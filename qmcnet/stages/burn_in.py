"""The burn-in stage: walkers relax to |psi|^2 before the parameters move."""

from dataclasses import dataclass
from typing import Any

import torch

from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row
from qmcnet.statistics.equilibrium import equilibrated, looks


@dataclass(frozen=True)
class BurnInSettings:
    """When the walkers count as relaxed.

    Attributes:
        min_sweeps: sweeps made in any case.
        max_sweeps: sweeps after which the run goes on with a warning.
    """

    min_sweeps: int = 20
    max_sweeps: int = 200

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if the bounds are negative or out of order.
        """
        if not 0 <= self.min_sweeps <= self.max_sweeps:
            raise ValueError(f"burn_in min_sweeps={self.min_sweeps} must be between 0 and max_sweeps={self.max_sweeps}")


class BurnIn:
    """Sweeps until log|psi|^2 of the walkers has stopped drifting.

    Attributes:
        equilibrated: whether it has, as far as the last look could tell.
    """

    name = "burn_in"
    order = 1

    def __init__(self, simulation: Simulation, settings: BurnInSettings) -> None:
        """Prepare the first sweep.

        Args:
            simulation: wavefunction and walkers.
            settings: bounds on the number of sweeps.
        """
        self.simulation, self.settings, self.step = simulation, settings, 0
        self.looks = looks(settings.min_sweeps, settings.max_sweeps)
        self.series: list[torch.Tensor] = []  # log-probability of each walker, (B,), after each sweep
        self.equilibrated = False

    def finished(self) -> bool:
        """Whether the walkers are relaxed or the sweeps used up."""
        return self.step >= self.settings.max_sweeps or self.equilibrated

    def progress(self) -> tuple[int, int]:
        """Sweeps made and the most that will be made."""
        return self.step, self.settings.max_sweeps

    def advance(self) -> Row:
        """Sweep once, and look where it is time to."""
        run = self.simulation
        run.walkers, sampling = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
        self.series.append(run.log_prob(run.walkers.positions))
        self.step += 1
        if len(self.series) in self.looks or self.step == self.settings.max_sweeps:
            self.equilibrated = equilibrated(torch.stack(self.series))
        return {**sampling}

    def state_dict(self) -> dict[str, Any]:
        """Return the sweeps made and what they showed."""
        series = torch.stack(self.series) if self.series else torch.empty(0)
        return {"step": self.step, "series": series, "equilibrated": self.equilibrated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned; of version 0.1.0, which kept the mean over walkers alone, what the
                sweeps showed is not known, and the looks start anew.
        """
        self.step, self.equilibrated = state["step"], state.get("equilibrated", False)
        series = state.get("series", torch.empty(0)).to(self.simulation.walkers.positions.device)
        self.series = list(series.unbind())
