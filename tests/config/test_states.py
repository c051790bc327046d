"""Settings of several states, objectives and observables arrive where they belong."""

import pytest
from composing import composed
from omegaconf import OmegaConf

from qmcnet.config.build import build
from qmcnet.config.schema import ConfigError
from qmcnet.states.natural import NaturalStates
from qmcnet.states.penalty import Penalty, ProductStates

TINY = [
    "ansatz.n_layers=1",
    "ansatz.hidden_one=8",
    "ansatz.hidden_two=4",
    "ansatz.n_determinants=1",
    "batch_size=8",
    "pretraining.steps=0",
    "device=cpu",
]


def built(directory, *overrides):
    return build(composed("+system=H2", *TINY, *overrides), directory)


@pytest.mark.parametrize(("objective", "kind"), [("natural", NaturalStates), ("penalty", ProductStates)])
def test_states_reach_the_network_and_the_objective_what_is_sampled(objective, kind, tmp_path):
    run = built(tmp_path, "states=3", f"objective={objective}")
    assert run.ansatz.settings["n_states"] == 3
    assert type(run.simulation.ensemble) is kind
    assert run.simulation.walkers.positions.shape == (8, 3 * 2, 3)
    again = build(OmegaConf.create(run.config), tmp_path)
    assert again.config == run.config
    assert again.ansatz.settings["n_states"] == 3


def test_settings_of_the_penalty_arrive(tmp_path):
    overrides = ["states=2", "objective=penalty", "objective.weights=[1,0.5]", "objective.strength=3"]
    run = built(tmp_path, *overrides, "objective.spin_penalty=0.5")
    assert run.objective == Penalty(3, [1, 0.5], 0.5)


@pytest.mark.parametrize("ansatz", ["slater_jastrow", "slater_backflow"])
def test_a_wavefunction_of_one_state_refuses_more(ansatz, tmp_path):
    overrides = ["+system=H2", f"ansatz={ansatz}", "batch_size=8", "device=cpu"]
    assert build(composed(*overrides, "states=1"), tmp_path).ansatz.molecule.n_electrons == 2
    with pytest.raises(ConfigError, match="states=2: SlaterJastrow has 1 here; leave out states") as caught:
        build(composed(*overrides, "states=2"), tmp_path)
    assert "\n" not in str(caught.value)


def test_observables_are_named_in_any_order(tmp_path):
    assert built(tmp_path, "observables=[spin,dipole]").config["observables"] == ["dipole", "spin"]
    assert built(tmp_path, "++observables=[spin]").observables == ["spin"]
