"""How often a run fetches its statistics and writes its checkpoints."""

from dataclasses import dataclass

from qmcnet.checks import at_least


@dataclass(frozen=True)
class LoggingSettings:
    """How often statistics are fetched and shown.

    Attributes:
        every: steps between fetches; every step is recorded whatever this is.
        seconds: seconds between progress lines where the output is not a terminal.
        all_ranks: of several processes, each keeps a log of its own, `train.rank1.log` and so on.
    """

    every: int = 10
    seconds: float = 30.0
    all_ranks: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if the interval is not positive.
        """
        at_least(1, every=self.every)
        at_least(0, seconds=self.seconds)


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written.

    Attributes:
        seconds: seconds between checkpoints; 0 writes one at every fetch of the statistics.
        keep: newest checkpoints kept; the last of each stage stays besides.
        max_retries: times a run is rolled back after bad numbers, each time further, before it gives up.
    """

    seconds: float = 60.0
    keep: int = 3
    max_retries: int = 3

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if none would be kept, or for a number that is negative.
        """
        at_least(1, keep=self.keep)
        at_least(0, seconds=self.seconds, max_retries=self.max_retries)
