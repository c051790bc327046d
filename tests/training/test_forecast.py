import math
import time

import pytest
import torch

from qmcnet.training import forecast as module
from qmcnet.training.forecast import Stopwatch, forecast, peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("seconds", "steps", "text"),
    [
        (0.5, 100, "0.5 s/step, 50 s for 100 steps"),
        (0.1234, 1000, "0.123 s/step, 2.1 min for 1000 steps"),
        (2.0, 18_000, "2 s/step, 10.00 h for 18000 steps"),
    ],
)
def test_forecast_says_time_steps_and_memory(seconds, steps, text, monkeypatch):
    monkeypatch.setattr(module, "peak_memory", lambda device: 1.5)
    assert forecast(seconds, steps, CPU) == f"forecast: {text}, 1.50 GiB on cpu"


def test_peak_memory_of_this_process_is_in_gib():
    block = torch.ones(2**25, dtype=torch.float64)  # a quarter of a GiB
    assert 0.25 < peak_memory(CPU) < 64
    assert block.sum() == 2**25


def test_the_stopwatch_leaves_out_the_first_step():
    watch = Stopwatch()
    assert math.isnan(watch.seconds_per_step)
    time.sleep(0.1)
    watch.tick()
    assert math.isnan(watch.seconds_per_step)
    for _ in range(2):
        time.sleep(0.01)
        watch.tick()
    assert watch.steps == 2
    assert 0.009 < watch.seconds_per_step < 0.05
