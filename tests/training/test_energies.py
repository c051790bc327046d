"""Energies of whole runs against exact ones: close enough above, and not below by more than chance.

References: H exact; He from Schwartz, Int. J. Mod. Phys. E 15, 877 (2006); H2 at 1.4 bohr from Pachucki,
Phys. Rev. A 82, 032509 (2010), doi:10.1103/PhysRevA.82.032509.
"""

import time

import pytest
import torch

from qmcnet import VMC, EvaluationSettings, FermiNet, Metropolis, Molecule, PretrainingSettings, Spring

SYSTEMS = {
    # molecule, exact energy and tolerance in hartree, updates
    "H": (Molecule.atom("H"), -0.5, 1e-3, 300),
    "He": (Molecule.atom("He"), -2.903724377, 2e-3, 300),
    "H2": (Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 1.4]]), -1.174475714, 2e-3, 300),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_short_run_reaches_the_exact_energy_from_above(name, tmp_path):
    molecule, exact, tolerance, steps = SYSTEMS[name]
    run = VMC(
        FermiNet(molecule, n_layers=2, hidden_one=16, hidden_two=8, n_determinants=2, seed=2, dtype=torch.float64),
        tmp_path,
        optimizer=lambda ansatz: Spring(ansatz, learning_rate=0.1, decay_steps=1000, norm_constraint=1e-2),
        sampler=Metropolis(steps=12),
        pretraining=PretrainingSettings(steps=100, basis="sto-3g", learning_rate=3e-3),
        evaluation=EvaluationSettings(steps=300, burn_in=20),
        steps=steps,
        batch_size=160,
        seed=2,
        device="cpu",
    )
    start = time.monotonic()
    result = run.train()
    minutes = (time.monotonic() - start) / 60
    print(f"\n{name}: {result.energy} +- {result.standard_error} hartree, exact {exact}, {minutes:.2f} minutes")
    assert result.stationary, result.reason
    assert result.standard_error < tolerance / 2
    assert result.energy < exact + tolerance
    assert result.energy > exact - 4 * result.standard_error
