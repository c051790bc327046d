"""The burn-in stage: walkers relax to |psi|^2 before the parameters move."""

from dataclasses import dataclass
from typing import Any

from qmcnet.sampling import equilibrated
from qmcnet.training.simulation import Simulation
from qmcnet.training.stages import Row


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
            raise ValueError(
                f"burn_in needs 0 <= min_sweeps <= max_sweeps, got min_sweeps={self.min_sweeps}, "
                f"max_sweeps={self.max_sweeps}"
            )


class BurnIn:
    """Sweeps until the mean of log|psi|^2 has stopped drifting."""

    name = "burn_in"
    order = 1

    def __init__(self, simulation: Simulation, settings: BurnInSettings) -> None:
        """Prepare the first sweep.

        Args:
            simulation: wavefunction and walkers.
            settings: bounds on the number of sweeps.
        """
        self.simulation, self.settings, self.step = simulation, settings, 0
        self.history: list[float] = []

    @property
    def equilibrated(self) -> bool:
        """Whether the walkers have stopped drifting."""
        return equilibrated(self.history)

    def finished(self) -> bool:
        """Whether the walkers are relaxed or the sweeps used up."""
        if self.step < self.settings.min_sweeps:
            return False
        return self.step >= self.settings.max_sweeps or self.equilibrated

    def progress(self) -> tuple[int, int]:
        """Sweeps made and the most that will be made."""
        return self.step, self.settings.max_sweeps

    def advance(self) -> Row:
        """Sweep once."""
        run = self.simulation
        run.walkers, sampling = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
        self.history.append(sampling["log_prob"].item())
        self.step += 1
        return {**sampling}

    def state_dict(self) -> dict[str, Any]:
        """Return the sweeps made and the monitored means."""
        return {"step": self.step, "history": list(self.history)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step, self.history = state["step"], list(state["history"])
