import pytest
import torch

from qmcnet.training.burn_in import BurnIn, BurnInSettings


@pytest.fixture
def stage(tmp_path, make_run):
    def make(**settings):
        return BurnIn(make_run(tmp_path).simulation, BurnInSettings(**settings))

    return make


def test_walkers_move_and_parameters_do_not(stage):
    burn_in = stage(min_sweeps=3, max_sweeps=3)
    run = burn_in.simulation
    positions, parameters = run.walkers.positions, {name: p.clone() for name, p in run.ansatz.state_dict().items()}
    while not burn_in.finished():
        burn_in.advance()
    assert burn_in.progress() == (3, 3)
    assert not torch.equal(run.walkers.positions, positions)
    assert all(torch.equal(p, parameters[name]) for name, p in run.ansatz.state_dict().items())


@pytest.mark.parametrize(
    ("step", "drifting", "finished"), [(39, False, False), (50, False, True), (50, True, False), (60, True, True)]
)
def test_it_ends_when_relaxed_or_when_the_sweeps_are_used_up(stage, step, drifting, finished):
    burn_in = stage(min_sweeps=45, max_sweeps=60)
    burn_in.step = step
    burn_in.history = [(0.1 * i if drifting else 0.0) + (-1) ** i for i in range(step)]
    assert burn_in.finished() is finished


def test_a_stop_without_equilibrium_is_reported(tmp_path, make_run, caplog):
    make_run(tmp_path, steps=1).train()
    assert "burn-in stopped after 5 sweeps without reaching equilibrium" in caplog.text


def test_a_restored_stage_remembers_its_history(stage):
    burn_in = stage(min_sweeps=3, max_sweeps=3)
    burn_in.advance()
    other = stage(min_sweeps=3, max_sweeps=3)
    other.load_state_dict(burn_in.state_dict())
    assert (other.step, other.history) == (1, burn_in.history)
    burn_in.advance()
    assert len(other.history) == 1


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (6, 5)])
def test_settings_out_of_range(low, high):
    with pytest.raises(ValueError, match=f"min_sweeps={low}, max_sweeps={high}"):
        BurnInSettings(low, high)
