"""The burn-in stage: walkers relax to |psi|^2 before the parameters move."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qmcnet.checks import at_least
from qmcnet.compute.team import team
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Row, Stage, Trial
from qmcnet.statistics.equilibrium import equilibrated, looks

logger = logging.getLogger(__name__)


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
        at_least(0, min_sweeps=self.min_sweeps)
        at_least(self.min_sweeps, max_sweeps=self.max_sweeps)


class BurnIn(Stage):
    """Sweeps until log|psi|^2 of the walkers has stopped drifting.

    Attributes:
        equilibrated: whether it has, as far as the last look could tell.
    """

    name = "burn_in"
    table = "burn_in_stats.csv"
    may_end_early = True

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
        sampling = run.sweep()
        positions = run.walkers.positions
        self.series += team().gather([run.log_prob(team().share(positions))], len(positions))
        self.step += 1
        if len(self.series) in self.looks or self.step == self.settings.max_sweeps:
            self.equilibrated = equilibrated(torch.stack(self.series))
        return {**sampling}

    def status(self, row: Numbers) -> str:
        """Say where the walkers are.

        Args:
            row: statistics of a sweep.

        Returns:
            A few words.
        """
        return f"log_prob {row['log_prob']:.6g}  pmove {row['pmove']:.2f}"

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare a sweep to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            It.
        """
        return Trial(lambda: BurnIn(simulation, self.settings).advance())

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Say whether the walkers are relaxed.

        Args:
            folder: where the result goes.

        Returns:
            Nothing for the result.
        """
        if not self.equilibrated:
            logger.warning("burn-in stopped after %d sweeps without reaching equilibrium", self.step)
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the sweeps made and what they showed."""
        series = torch.stack(self.series) if self.series else torch.empty(0)
        return {"step": self.step, "series": series, "equilibrated": self.equilibrated}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step, self.equilibrated = state["step"], state["equilibrated"]
        self.series = list(state["series"].to(self.simulation.walkers.positions.device).unbind())
