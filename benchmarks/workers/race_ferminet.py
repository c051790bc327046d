"""google-deepmind/ferminet as a contestant of `race.py`: the script of its README, for the system of the order."""

import sys
import time
from types import TracebackType
from typing import Any

from protocol import Spec, begin


class Clock:
    """Takes the place of the package's CSV writer: one row for each step, and the end when the time is used up.

    The package gives no variance over the walkers of a step.
    """

    def __init__(self, channel: Any, seconds: float) -> None:
        """Start the table.

        Args:
            channel: where the rows go.
            seconds: processor time of this process, from its start, after which it ends.
        """
        self.channel, self.seconds = channel, seconds
        print("processor_seconds,step,energy,variance", file=channel, flush=True)

    def __enter__(self) -> "Clock":
        """Open nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close nothing."""

    def write(self, t: int, **data: Any) -> None:
        """Write the row of a finished step."""
        now = time.process_time()
        print(f"{now:.3f},{t + 1},{float(data['energy']):.8f},nan", file=self.channel, flush=True)
        if now > self.seconds:
            sys.exit()

    def flush(self) -> None:
        """Do nothing: rows are written at once."""


def configuration(spec: Spec) -> Any:
    """Set what its README sets: molecule, electrons, walkers and steps of pretraining; the rest are defaults."""
    from ferminet import base_config
    from ferminet.utils import system

    cfg = base_config.default()
    cfg.system.electrons = (spec["n_up"], spec["n_down"])
    atoms = zip(spec["symbols"], spec["coordinates"], strict=True)
    cfg.system.molecule = [system.Atom(symbol, place) for symbol, place in atoms]
    cfg.batch_size, cfg.pretrain.iterations = spec["walkers"], spec["pretraining"]
    return base_config.resolve(cfg)


def run() -> None:
    """Train until the time of the order is used up."""
    spec, channel = begin()
    from ferminet import train

    train.train(configuration(spec), writer_manager=Clock(channel, spec["seconds"]))


if __name__ == "__main__":
    run()
