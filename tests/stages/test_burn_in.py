from pathlib import Path

import pytest
import torch

from qmcnet.run.first_format import translated
from qmcnet.stages.burn_in import BurnIn, BurnInSettings


@pytest.fixture
def stage(tmp_path, make_run):
    def make(**settings):
        return BurnIn(make_run(tmp_path).simulation, BurnInSettings(**settings))

    return make


def test_walkers_move_and_parameters_do_not(stage):
    burn_in = stage(min_sweeps=3, max_sweeps=3)
    run = burn_in.simulation
    positions, parameters = run.walkers.positions, {name: p.clone() for name, p in run.ensemble.state_dict().items()}
    while not burn_in.finished():
        burn_in.advance()
    assert burn_in.progress() == (3, 3)
    assert not torch.equal(run.walkers.positions, positions)
    assert all(torch.equal(p, parameters[name]) for name, p in run.ensemble.state_dict().items())


class Walk:
    """A sampler whose walkers drift apart, or scatter about where they are."""

    def __init__(self, drift):
        self.drift = drift

    def sweep(self, log_prob, walkers, generator, adapt, lengths):
        noise = torch.randn(walkers.positions.shape, generator=generator, dtype=walkers.positions.dtype)
        self.centre = getattr(self, "centre", walkers.positions) * (1 + self.drift)
        return walkers.replace(positions=self.centre + 0.1 * noise), {"log_prob": log_prob(walkers.positions).mean()}


@pytest.mark.parametrize(
    ("drift", "least", "steps", "relaxed"),
    [
        (0.01, 20, [300], False),
        (0.0, 20, [48, 72, 108, 162, 243, 300], True),
        (0.0, 80, [80, 120, 180, 270, 300], True),
    ],
)
def test_it_ends_when_relaxed_or_when_the_sweeps_are_used_up(stage, drift, least, steps, relaxed):
    burn_in = stage(min_sweeps=least, max_sweeps=300)
    burn_in.simulation.sampler = Walk(drift)
    while not burn_in.finished():
        burn_in.advance()
    assert burn_in.step in steps
    assert burn_in.equilibrated is relaxed


def test_the_device_is_waited_for_at_looks_alone(stage, monkeypatch):
    burn_in, waits = stage(min_sweeps=20, max_sweeps=60), []
    for name in ("item", "tolist", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, original=original: waits.append(burn_in.step) or original(self)
        )
    for _ in range(60):
        burn_in.advance()
    assert set(waits) <= {48, 60}
    assert len(waits) == 2


def test_a_stop_without_equilibrium_is_reported(tmp_path, make_run, caplog):
    make_run(tmp_path, steps=1).train()
    assert "burn-in stopped after 5 sweeps without reaching equilibrium" in caplog.text


def test_a_restored_stage_remembers_what_it_saw(stage):
    burn_in = stage(min_sweeps=3, max_sweeps=3)
    burn_in.advance()
    other = stage(min_sweeps=3, max_sweeps=3)
    other.load_state_dict(burn_in.state_dict())
    assert (other.step, len(other.series)) == (1, 1)
    assert torch.equal(other.series[0], burn_in.series[0])
    burn_in.advance()
    assert len(other.series) == 1
    burn_in.equilibrated = True
    other.load_state_dict(burn_in.state_dict())
    assert other.finished()


@pytest.mark.parametrize(("step", "ends"), [(30, [78, 100]), (90, [100])])
def test_a_state_with_means_alone_is_continued(stage, step, ends):
    burn_in = stage(min_sweeps=20, max_sweeps=100)
    own = {"step": step, "history": [-1.0] * step}
    state = {"stage": "burn_in", "stage_state": own, "simulation": {"ansatz": {}}}
    path = Path(f"00000000-1-burn_in-{step:08d}.pt")
    burn_in.load_state_dict(translated(state, path)["stage_state"])
    while not burn_in.finished():
        burn_in.advance()
    assert burn_in.step in ends


@pytest.mark.parametrize(
    ("low", "high", "message"), [(-1, 5, "min_sweeps=-1 must be at least 0"), (6, 5, "max_sweeps=5 must be at least 6")]
)
def test_settings_out_of_range(low, high, message):
    with pytest.raises(ValueError, match=message):
        BurnInSettings(low, high)
