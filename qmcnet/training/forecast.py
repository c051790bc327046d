"""How long a run will take and how much memory it needs, from its first timed steps."""

import resource
import sys
import time

import torch

TIMED_STEPS = 20


def peak_memory(device: torch.device) -> float:
    """Peak memory so far.

    Args:
        device: where the run computes.

    Returns:
        GiB allocated on a GPU, or resident in this process on a CPU.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class Stopwatch:
    """Times the steps of a stage; the first, which warms up caches, does not count."""

    def __init__(self) -> None:
        """Wait for the first step."""
        self.steps = -1
        self.start = time.perf_counter()

    def tick(self) -> None:
        """Count one finished step."""
        self.steps += 1
        if self.steps == 0:
            self.start = time.perf_counter()

    @property
    def seconds_per_step(self) -> float:
        """Mean duration of the timed steps, in seconds; nan before there are any."""
        return (time.perf_counter() - self.start) / self.steps if self.steps > 0 else float("nan")


def forecast(seconds_per_step: float, steps_left: int, device: torch.device) -> str:
    """Say what lies ahead.

    Args:
        seconds_per_step: measured duration of a step.
        steps_left: steps still to do.
        device: where the run computes.

    Returns:
        One line with the duration of a step, the time left and the memory.
    """
    left = seconds_per_step * steps_left
    amount = f"{left / 3600:.2f} h" if left > 5400 else f"{left / 60:.1f} min" if left > 90 else f"{left:.0f} s"
    memory = peak_memory(device)
    return f"forecast: {seconds_per_step:.3g} s/step, {amount} for {steps_left} steps, {memory:.2f} GiB on {device}"
