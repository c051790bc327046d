"""Whole runs with effective core potentials: what they find, what they store, and what is refused."""

import dataclasses
import json
import shutil

import pytest
import torch
from composing import composed

from qmcnet import VMC, EvaluationSettings, Metropolis, Molecule, SlaterJastrow, load
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.config.build import build
from qmcnet.report.reference import lookup
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.stages.diffusion import Diffusion
from qmcnet.stages.diffusion_settings import DiffusionSettings


def vmc(ansatz, directory, **settings):
    defaults = {
        "sampler": Metropolis(steps=6),
        "burn_in": BurnInSettings(min_sweeps=20, max_sweeps=40),
        "evaluation": EvaluationSettings(steps=60, burn_in=5),
        "batch_size": 100,
        "steps": 0,
        "seed": 1,
        "device": "cpu",
    }
    return VMC(ansatz, directory, **defaults | settings)


def test_a_bare_determinant_has_the_hartree_fock_energy_and_is_told_apart_from_all_electrons(tmp_path):
    carbon = Molecule.atom("C").with_ecp("ccecp")
    ansatz = SlaterJastrow(carbon, jastrow="none", dtype=torch.float64)
    result = vmc(ansatz, tmp_path).train()
    expected = hartree_fock(carbon, method="rohf").energy
    print(f"\nC: {result.energy} +- {result.standard_error} hartree, rohf {expected}")
    assert result.standard_error < 0.02
    assert abs(result.energy - expected) < 4 * result.standard_error
    assert result.reference == dataclasses.asdict(lookup(carbon))
    assert "above reference" in result.summary()
    assert result.states[0]["virial_ratio"] is None
    assert "virial ratio     none" in result.summary()
    assert json.loads((tmp_path / "result.json").read_text())["ecp"]["C"]["n_core"] == 2
    assert "effective_core" in (tmp_path / "evaluation" / "evaluation_stats.csv").read_text().splitlines()[0]


def test_a_run_carries_its_potential_and_another_one_is_another_run(tmp_path):
    (tmp_path / "c.ecp").write_text("C nelec 2\nC ul\n1 14.4 4.0\n3 8.4 57.6\n2 7.4 -25.8\nC s\n2 7.8 52.1\n")
    typed = ["+system=C", "preset=quick", "steps=1", "batch_size=4", "pretraining.steps=0", "device=cpu"]
    small = ["ansatz.n_layers=1", "ansatz.hidden_one=4", "ansatz.hidden_two=2", "ansatz.n_determinants=1"]
    run = build(composed(*typed, *small, f"ecp={tmp_path / 'c.ecp'}"), tmp_path / "run")
    run.burn_in, run.evaluation = BurnInSettings(max_sweeps=2, min_sweeps=2), EvaluationSettings(steps=2, burn_in=1)
    run.train()
    (tmp_path / "c.ecp").unlink()
    again = load(tmp_path / "run", device="cpu")
    assert again.molecule == run.molecule
    assert again.molecule.n_electrons == 4
    other = build(composed(*typed, *small, "ecp=ccecp"), tmp_path / "run")
    with pytest.raises(ValueError, match=r"system\.ecp"):
        other.train()


def diffused(ansatz, directory, settings, **changes):
    run = vmc(ansatz, directory, batch_size=50, **changes)
    return run, run.diffuse(DiffusionSettings((0.04,), target_error=None, **settings))


def test_electrons_hop_in_diffusion_and_go_on_to_the_same_numbers(tmp_path, stop_at):
    """Of a determinant whose p electrons change sign about the nucleus, as the repulsion of its s functions wants."""
    ansatz = SlaterJastrow(Molecule.atom("C").with_ecp("ccecp"), jastrow="none", dtype=torch.float64)
    vmc(ansatz, tmp_path, batch_size=50).train()
    stopped, (run, whole) = tmp_path / "stopped", diffused(ansatz, tmp_path, {"steps": 40})
    shutil.copytree(tmp_path, stopped, ignore=shutil.ignore_patterns("dmc", "stopped"))
    stop_at(Diffusion, 25)
    with pytest.raises(Interrupted):
        diffused(ansatz, stopped, {"steps": 40})
    assert diffused(ansatz, stopped, {"steps": 40})[1].energy == whole.energy
    _, localised = diffused(ansatz, tmp_path, {"steps": 40, "t_moves": False})
    assert localised.energy != whole.energy
    assert {folder.name for folder in (tmp_path / "dmc").iterdir()} == {
        "timesteps=0.04",
        "timesteps=0.04,t_moves=false",
    }
    (point,) = whole.points
    terms = ("kinetic", "electron_nucleus", "electron_electron", "effective_core")
    assert sum(point["measured"][name]["value"] for name in terms) == pytest.approx(whole.energy, abs=1e-9)
    stage = Diffusion(run.simulation, DiffusionSettings((0.04,)))
    hops = stage.guide(run.simulation.walkers.positions).hops
    assert 0.01 < hops[..., 0].mean() < 10
    assert bool(hops.isfinite().all())


def test_gradients_are_finite_and_backflow_moves_electrons_behind_core_potentials():
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr").with_ecp({"Li": "ccecp"})
    ansatz = SlaterJastrow(molecule, backflow=True, dtype=torch.float64)
    positions = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = ansatz(positions, molecule.nuclei)[1]
    (gradient,) = torch.autograd.grad(before.sum(), positions, create_graph=True)
    assert gradient.isfinite().all()
    for parameter in ansatz.backflow.parameters():
        parameter.data.fill_(0.1)
    after = ansatz(positions, molecule.nuclei)[1]
    assert ((after - before).abs() > 1e-4).all()
    after.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ansatz.parameters() if parameter.grad is not None)
