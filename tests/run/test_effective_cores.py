"""Whole runs with effective core potentials: what they find, what they store, and what is refused."""

import dataclasses
import json

import pytest
import torch
from composing import composed

from qmcnet import VMC, EvaluationSettings, FermiNet, Metropolis, Molecule, SlaterJastrow, load
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.config.build import build
from qmcnet.report.reference import lookup
from qmcnet.stages.burn_in import BurnInSettings
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


def test_diffusion_is_refused(tmp_path):
    molecule = Molecule.atom("Be").with_ecp("ccecp")
    ansatz = FermiNet(molecule, n_layers=1, hidden_one=4, hidden_two=2, n_determinants=1, dtype=torch.float64)
    run = vmc(ansatz, tmp_path, batch_size=4, evaluation=EvaluationSettings(steps=2, burn_in=1))
    run.pretraining = type(run.pretraining)(steps=0)
    run.train()
    with pytest.raises(ValueError, match="diffusion Monte Carlo is for all electrons"):
        run.diffuse(DiffusionSettings())


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
