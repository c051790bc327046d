import pytest
import torch
from echo import Echo

from qmcnet.compute.team import standing_in
from qmcnet.stages import advice as module
from qmcnet.stages.advice import LONG_RUN, advice


@pytest.fixture
def machine(monkeypatch):
    """Four cores, a compiler and no GPU."""
    monkeypatch.setattr(module, "n_cores", lambda: 4)
    monkeypatch.setattr(module, "check_compiler", lambda device: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


@pytest.fixture
def simulation(make_run, tmp_path):
    return make_run(tmp_path).simulation


def test_a_run_of_an_hour_needs_no_advice(simulation, machine):
    assert advice(simulation, LONG_RUN, None) == []
    assert advice(simulation, 50.0, 50.0) == []


def settings(simulation, total=LONG_RUN + 1):
    """What is to be added to the command."""
    headline, *lines = advice(simulation, total, None)
    assert headline.startswith("advice: ")
    return [line.split()[0].rstrip(",") for line in lines]


def test_a_longer_one_hears_what_applies(simulation, machine):
    assert settings(simulation) == ["compile=true", "devices=auto", "steps=N"]  # the network is small already


def test_a_large_network_hears_of_a_small_one_and_of_a_gpu(simulation, machine):
    machine.setattr(module, "LARGE_NETWORK", 10)
    assert settings(simulation) == ["preset=quick", "compile=true", "devices=auto", "device=cuda", "steps=N"]
    assert "on a machine with a GPU" in advice(simulation, LONG_RUN + 1, None)[4]


def test_what_is_trained_already_hears_of_nothing_that_would_change_it(simulation, machine):
    machine.setattr(module, "LARGE_NETWORK", 10)
    _, *lines = advice(simulation, LONG_RUN + 1, None, of_trained=True)
    assert [line.split()[0] for line in lines] == ["devices=auto", "device=cuda", "target_error=E", "steps=N"]


def test_a_gpu_that_is_not_used_is_pointed_out(simulation, machine):
    machine.setattr(torch.cuda, "is_available", lambda: True)
    assert "device=cuda" in settings(simulation)


def no_compiler(device):
    raise ValueError


def test_what_does_not_apply_is_not_said(make_run, tmp_path, machine):
    def said(**changes):
        return settings(make_run(tmp_path, **changes).simulation)

    with standing_in(Echo(2)):
        assert said() == ["compile=true", "steps=N"]
    assert said(compile=True) == ["devices=auto", "steps=N"]
    assert said(network={"complex": True}) == ["devices=auto", "steps=N"]
    machine.setattr(module, "check_compiler", no_compiler)
    machine.setattr(module, "n_cores", lambda: 1)
    assert said() == ["steps=N"]


def test_a_run_that_its_wall_time_ends_can_be_continued(simulation, machine):
    line = "advice: wall_time=20 s ends before that; the same command continues"
    assert advice(simulation, 50.0, 20.0) == [line]
    assert advice(simulation, LONG_RUN + 1, 20.0)[-1] == line
    assert advice(simulation, LONG_RUN + 1, 20.0)[0] != line
