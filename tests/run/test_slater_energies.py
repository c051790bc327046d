"""Energies of whole runs with Slater determinants, which quantum chemistry knows: sampler to statistics at once."""

from functools import partial

import pytest
import torch

from qmcnet import VMC, Clipping, EvaluationSettings, Metropolis, Molecule, SlaterJastrow, Spring, load
from qmcnet.chemistry.casscf import casscf
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.stages.burn_in import BurnInSettings

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
BARE = {"jastrow": "none", "nuclear_cusp": "none"}
ACTIVE = {"method": "casscf", "active_electrons": 2, "active_orbitals": 4}


def run(molecule, directory, wavefunction, **settings):
    ansatz = SlaterJastrow(molecule, **wavefunction, dtype=torch.float64)
    defaults = {
        "sampler": Metropolis(steps=6),
        "burn_in": BurnInSettings(min_sweeps=20, max_sweeps=40),
        "evaluation": EvaluationSettings(steps=60, burn_in=5),
        "batch_size": 100,
        "seed": 1,
        "device": "cpu",
    }
    return VMC(ansatz, directory, **defaults | settings)


@pytest.mark.parametrize("nuclear_cusp", ["orbitals", "none"])
def test_a_bare_determinant_has_the_hartree_fock_energy(tmp_path, nuclear_cusp):
    lithium = Molecule.atom("Li")
    wavefunction = {"method": "uhf", **BARE, "nuclear_cusp": nuclear_cusp, "basis": "cc-pvtz"}
    result = run(lithium, tmp_path, wavefunction, steps=0).train()
    expected = hartree_fock(lithium, "cc-pvtz", "uhf").energy
    print(f"\nLi: {result.energy} +- {result.standard_error} hartree, uhf {expected}")
    assert result.standard_error < 0.1
    assert abs(result.energy - expected) < 4 * result.standard_error


def test_an_active_space_has_the_energy_of_casscf(tmp_path):
    result = run(LIH, tmp_path, {**ACTIVE, "ci_threshold": 1e-6, **BARE}, steps=0).train()
    expected = casscf(LIH, "cc-pvdz", 2, 4).energy
    print(f"\nLiH: {result.energy} +- {result.standard_error} hartree, casscf {expected}")
    assert result.standard_error < 0.2
    assert abs(result.energy - expected) < 4 * result.standard_error


def test_jastrow_and_backflow_are_optimised_without_pretraining_and_load_again(tmp_path, caplog):
    evaluation, spring = (
        EvaluationSettings(steps=5, burn_in=1),
        partial(Spring, learning_rate=0.1, norm_constraint=1e-2),
    )
    settings = {"optimizer": spring, "evaluation": evaluation, "batch_size": 50, "steps": 3}
    made = run(Molecule.atom("He"), tmp_path, {"backflow": True}, clipping=Clipping(10.0), **settings)
    before = torch.nn.utils.parameters_to_vector(made.ansatz.parameters()).detach().clone()
    with caplog.at_level("INFO", logger="qmcnet"):
        result = made.train()
    assert result.distance is None  # whatever the variance
    assert (torch.nn.utils.parameters_to_vector(made.ansatz.parameters()) != before).any()
    assert "SlaterJastrow starts from orbitals of its own: no pretraining" in caplog.text
    assert not (tmp_path / "pretraining").exists()
    again = load(tmp_path, device="cpu")
    positions = made.simulation.walkers.positions
    assert torch.equal(again.simulation.ensemble(positions)[1], made.simulation.ensemble(positions)[1])


def test_a_distance_that_is_not_known_is_not_asked_for(tmp_path):
    made = run(LIH, tmp_path, BARE, accuracy=1e-3)  # as one that is loaded may be
    with pytest.raises(ValueError, match=r"accuracy=0\.001 is not known of this ansatz"):
        made.train()
