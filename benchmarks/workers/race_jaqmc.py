"""bytedance/jaqmc as a contestant of `race.py`: its `jaqmc molecule train`, for the system of the order."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from protocol import Spec, begin


class Clock:
    """Stands beside the package's writers: one row for each step, and the end when the time is used up."""

    def __init__(self, channel: Any, seconds: float) -> None:
        """Start the table.

        Args:
            channel: where the rows go.
            seconds: processor time of this process, from its start, after which it ends.
        """
        self.channel, self.seconds = channel, seconds
        print("processor_seconds,step,energy,variance", file=channel, flush=True)

    @contextmanager
    def open(self, *arguments: Any, **others: Any) -> Generator[None]:
        """Open nothing."""
        yield

    def write(self, step: int, stats: dict[str, Any]) -> None:
        """Write the row of a finished step."""
        energy, variance = float(stats["total_energy"]), float(stats["total_energy_var"])
        now = time.process_time()
        print(f"{now:.3f},{step + 1},{energy:.8f},{variance:.6g}", file=self.channel, flush=True)
        if now > self.seconds:
            sys.exit()


def configuration(spec: Spec) -> dict[str, Any]:
    """Set molecule, walkers and steps of pretraining; the rest are defaults of the molecule workflow."""
    atoms = zip(spec["symbols"], spec["coordinates"], strict=True)
    return {
        "system": {
            "atoms": [{"symbol": symbol, "coords": list(place)} for symbol, place in atoms],
            "s_z": (spec["n_up"] - spec["n_down"]) / 2,
        },
        "workflow": {"batch_size": spec["walkers"]},
        "pretrain": {"run": {"iterations": spec["pretraining"]}},
    }


def run() -> None:
    """Train until the time of the order is used up."""
    spec, channel = begin()
    from jaqmc.app.molecule import MoleculeTrainWorkflow
    from jaqmc.utils.config import ConfigManager
    from jaqmc.utils.runtime import configure_runtime

    settings = ConfigManager(configuration(spec))
    configure_runtime(settings)
    workflow = MoleculeTrainWorkflow(settings)
    workflow.train_stage.writers._writers.append(Clock(channel, spec["seconds"]))
    workflow()


if __name__ == "__main__":
    run()
