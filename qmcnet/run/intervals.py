"""How often a run fetches its statistics and writes its checkpoints."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoggingSettings:
    """How often statistics are fetched and shown.

    Attributes:
        every: steps between fetches; every step is recorded whatever this is.
        seconds: seconds between progress lines where the output is not a terminal.
    """

    every: int = 10
    seconds: float = 30.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if the interval is not positive.
        """
        if self.every < 1:
            raise ValueError(f"logging.every={self.every} must be at least 1")


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
        if self.keep < 1:
            raise ValueError(f"checkpoints.keep={self.keep} must be at least 1")
        for name, value in {"seconds": self.seconds, "max_retries": self.max_retries}.items():
            if not value >= 0:
                raise ValueError(f"checkpoints.{name}={value} must not be negative")
