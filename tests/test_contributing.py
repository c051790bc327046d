"""The examples of CONTRIBUTING are whole: each is written to a file, imported and used."""

import importlib.util
import json
import logging
import re
import sys
from pathlib import Path

import pytest
import torch
from composing import composed
from omegaconf import open_dict

from qmcnet import VMC, FermiNet, ForwardLaplacian, Molecule, NaturalStates, TorchFuncLaplacian
from qmcnet.ansatz.envelopes import ENVELOPES
from qmcnet.config.build import build
from qmcnet.config.schema import ConfigError
from qmcnet.operators.operator import OBSERVABLES
from qmcnet.run.identity import identity
from qmcnet.run.plan import Part
from qmcnet.stages import outlook
from qmcnet.stages.stage import summarize

HELIUM = Molecule.atom("He")
TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(
    zip(
        ("envelope", "operator", "optimizer", "stage"), re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL), strict=True
    )
)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Import an example; what it registers is forgotten afterwards."""
    for registry in (ENVELOPES, OBSERVABLES):
        len(registry)  # what ships is known before
        monkeypatch.setattr(registry, "makers", dict(registry.makers))

    def load(name):
        path = tmp_path / f"example_{name}.py"
        path.write_text(EXAMPLES[name])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(name):
    assert len([line for line in EXAMPLES[name].splitlines() if line.strip()]) < 40


def test_the_envelope_is_known_by_its_name_and_differentiated(example):
    example("envelope")
    network = FermiNet(HELIUM, n_layers=1, hidden_one=8, hidden_two=4, envelope="gaussian", dtype=torch.float64)
    positions = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    forward, reference = (
        backend(NaturalStates(network).log_psi, positions) for backend in (ForwardLaplacian(), TorchFuncLaplacian())
    )
    torch.testing.assert_close(forward.laplacian, reference.laplacian)


def test_the_operator_is_measured_by_its_name(example, make_run, tmp_path, any_series_is_an_estimate):
    example("operator")
    result = make_run(tmp_path / "run", observables=["extent"]).train()
    (state,) = result.states
    assert 0.5 < state["extent"]["r_squared"]["value"] < 20


def test_the_operator_can_be_a_term_of_the_hamiltonian(example, make_run, tmp_path):
    operator = example("operator").Extent
    run, plain = (make_run(tmp_path / str(i), terms=terms) for i, terms in enumerate(({"trap": operator}, None)))
    energy, without = (one.simulation.hamiltonian(one.simulation.states()) for one in (run, plain))
    extent = run.simulation.walkers.positions.square().sum((-2, -1))
    torch.testing.assert_close(energy.total - without.total, extent)
    torch.testing.assert_close(energy.terms["extent"][:, 0, 0], extent)
    stage = run._optimization()
    assert float(summarize(energy)["extent"]) == pytest.approx(float(extent.mean()))
    assert stage.tag("extent") == "local_energy/extent"


def test_the_operator_is_a_term_by_configuration_and_is_stored(example, tmp_path):
    example("operator")
    term = {"_target_": "example_operator.Extent", "_partial_": True}
    cfg = composed("+system=He", "ansatz.n_layers=1", "batch_size=4", "device=cpu")
    plain = identity(build(cfg, tmp_path).config)
    with open_dict(cfg):
        cfg.terms = {"trap": term}
    with pytest.raises(ConfigError, match=r"terms.trap._target_='example_operator.Extent' is not part of qmcnet"):
        build(cfg, tmp_path)
    cfg.trust = True
    run = build(cfg, tmp_path)
    assert run.config["terms"] == {"trap": term}
    assert "extent" in run.hamiltonian(run.simulation.states()).terms
    assert identity(run.config) == plain | {f"terms.trap.{key}": value for key, value in term.items()}


def test_an_operator_that_forgets_its_arguments_is_refused(make_run, tmp_path):
    class Forgetful(torch.nn.Module):
        name = "forgetful"

        def __init__(self, molecule, strength=1.0):
            super().__init__()

    with pytest.raises(ValueError, match="Forgetful must keep its arguments strength as `settings`"):
        _ = make_run(tmp_path, terms={"forgetful": Forgetful}).config


def test_the_optimizer_trains(example, make_run, tmp_path):
    kind = example("optimizer").FixedLength
    run = make_run(tmp_path / "run", optimizer=kind, steps=24)  # long enough for a forecast
    before = torch.nn.utils.parameters_to_vector(run.ansatz.parameters()).clone()
    energies = run.simulation.hamiltonian(run.simulation.states()).total[:, None]
    run.optimizer.update(run.simulation.walkers.positions, energies, 0.5)
    length = (torch.nn.utils.parameters_to_vector(run.ansatz.parameters()) - before).norm()
    torch.testing.assert_close(length, torch.tensor(0.005, dtype=torch.float64))
    assert run.train().trained_steps == 24


def test_the_stage_is_driven_killed_and_continued(
    example, make_run, tmp_path, monkeypatch, caplog, any_series_is_an_estimate
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(outlook, "SHORT_RUN", 0.0)
    kind = example("stage").Wander
    plan = VMC.parts
    monkeypatch.setattr(
        VMC,
        "parts",
        lambda run: [*plan(run), Part(kind, lambda: kind(run.simulation), run.directory / kind.name)],
    )
    whole = json.loads(
        ((tmp_path / "whole") / "result.json").read_text() if make_run(tmp_path / "whole").train() else ""
    )
    assert re.search(r"forecast: .*, wander 10 steps \d+ s; about", caplog.text)
    monkeypatch.setattr(outlook, "SHORT_RUN", 5.0)
    steps, advance = iter(range(100)), kind.advance

    def killed(self):
        if next(steps) == 5:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(kind, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path / "killed").train()
    monkeypatch.setattr(kind, "advance", advance)
    make_run(tmp_path / "killed").train()
    again = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert again["wander"] == whole["wander"]
    assert again["energy"] == whole["energy"]
    table = (tmp_path / "killed" / "wander" / "wander_stats.csv").read_text()
    assert table == (tmp_path / "whole" / "wander" / "wander_stats.csv").read_text()
