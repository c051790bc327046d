import json
import math

import pytest
import torch

from qmcnet.run.postmortem import diagnose, is_bad, write_postmortem


@pytest.fixture
def simulation(tmp_path, make_run):
    return make_run(tmp_path).simulation


@torch.no_grad()
def put_on_top(simulation, walker):
    positions = simulation.walkers.positions.clone()
    positions[walker, 1] = positions[walker, 0]
    simulation.walkers = simulation.walkers.replace(positions=positions)


def test_extremes_may_be_infinite_and_nothing_else():
    row = {"energy": -1.0, "variance": 0.0, "minimum": math.inf, "maximum": -math.inf, "nonfinite": 3.0}
    assert not is_bad(row)
    assert is_bad(row | {"energy": math.nan})
    assert is_bad(row | {"update_norm": math.inf})


def test_a_healthy_state_has_no_culprit(simulation):
    assert diagnose(simulation) == {"bad_parameters": [], "bad_walkers": 0, "first_bad_walkers": []}


def test_it_names_the_walker_the_term_and_the_closest_electrons(simulation):
    put_on_top(simulation, 5)
    report = diagnose(simulation)
    assert report["bad_parameters"] == []
    assert report["bad_walkers"] == 1
    (walker,) = report["first_bad_walkers"]
    assert walker["walker"] == 5
    assert "electron_electron" in walker["terms"]
    assert sorted(walker["closest_electrons"]) == [0, 1]
    assert walker["distance"] == 0


def test_it_names_the_bad_parameters(simulation):
    with torch.no_grad():
        simulation.ensemble.network.layers[0].own.bias[2] = math.inf
    report = diagnose(simulation)
    assert report["bad_parameters"] == ["network.layers.0.own.bias"]


def test_the_state_is_kept_aside(simulation, tmp_path):
    put_on_top(simulation, 5)
    text = write_postmortem(tmp_path, "optimization", 12, simulation)
    base = tmp_path / "postmortem" / "optimization-00000012"
    assert text.startswith("1 walkers with a non-finite local energy")
    assert f"{base}.json" in text
    report = json.loads(base.with_suffix(".json").read_text())
    assert (report["stage"], report["step"], report["first_bad_walkers"][0]["walker"]) == ("optimization", 12, 5)
    state = torch.load(base.with_suffix(".pt"), weights_only=True)
    assert torch.equal(state["walkers"]["positions"], simulation.walkers.positions)


@pytest.mark.parametrize("symbol", ["H", "He"])
def test_the_report_is_strict_json_whatever_is_lost(tmp_path, make_run, symbol):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    simulation = make_run(tmp_path, symbol).simulation
    lost = simulation.walkers.positions.clone()
    lost[0] = math.nan
    simulation.walkers = simulation.walkers.replace(positions=lost)
    write_postmortem(tmp_path, "burn_in", 1, simulation)
    text = (tmp_path / "postmortem" / "burn_in-00000001.json").read_text()
    assert json.loads(text, parse_constant=refuse)["bad_walkers"] == 1
