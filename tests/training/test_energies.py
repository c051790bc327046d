"""Energies of whole runs against exact ones: close enough above, and not below by more than chance.

References: H exact; He from Schwartz, Int. J. Mod. Phys. E 15, 877 (2006); H2 at 1.4 bohr from Pachucki,
Phys. Rev. A 82, 032509 (2010), doi:10.1103/PhysRevA.82.032509.
"""

import time
from functools import partial

import pytest
import torch
from pytorch_optimizer import Lamb

from qmcnet import (
    VMC,
    Clipping,
    EvaluationSettings,
    FermiNet,
    FirstOrder,
    Kfac,
    Metropolis,
    Molecule,
    PretrainingSettings,
    Schedule,
    Spring,
)

SYSTEMS = {
    # molecule, exact energy and tolerance in hartree, updates
    "H": (Molecule.atom("H"), -0.5, 1e-4, 500),
    "He": (Molecule.atom("He"), -2.903724377, 1e-3, 900),
    "H2": (Molecule.from_atoms([["H", 0, 0, 0], ["H", 0, 0, 1.4]]), -1.174475714, 2e-3, 300),
}
SPRING = partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2)
OPTIMIZERS = {
    "spring": SPRING,
    "minsr": partial(SPRING, momentum=0.0),
    "prime_sr": partial(SPRING, momentum=None),
    "kfac": partial(Kfac, learning_rate=0.1),
    "adam": partial(FirstOrder, learning_rate=1e-2),
    "lamb": partial(FirstOrder, method=partial(Lamb, adam_debias=True), learning_rate=3e-2),
}


@pytest.mark.parametrize(
    ("name", "optimizer", "complex"),
    [
        *((name, optimizer, False) for name in ("H", "He") for optimizer in OPTIMIZERS),
        ("H2", "spring", False),
        ("H", "spring", True),
    ],
)
def test_a_short_run_reaches_the_exact_energy_from_above(name, optimizer, complex, tmp_path):
    molecule, exact, tolerance, steps = SYSTEMS[name]
    sizes = {
        "n_layers": 2,
        "hidden_one": 16,
        "hidden_two": 8,
        "n_determinants": 2,
        "jastrow": "none" if name == "H" else "cusp",
        "complex": complex,
    }
    run = VMC(
        FermiNet(molecule, **sizes, seed=2, dtype=torch.float64),
        tmp_path,
        optimizer=OPTIMIZERS[optimizer],
        clipping=Clipping(10.0),
        schedule=Schedule(decay_steps=150),
        sampler=Metropolis(steps=10),
        pretraining=PretrainingSettings(steps=100, basis="sto-3g", learning_rate=3e-3),
        evaluation=EvaluationSettings(steps=1500, target_error=tolerance / 4, burn_in=20),
        steps=steps,
        batch_size=200,
        seed=2,
        device="cpu",
    )
    start = time.monotonic()
    result = run.train()
    minutes = (time.monotonic() - start) / 60
    print(f"\n{name} {optimizer}: {result.energy} +- {result.standard_error} hartree, exact {exact}, {minutes:.2f} min")
    assert result.stationary, result.reason
    assert result.standard_error < tolerance / 2
    assert result.energy < exact + tolerance
    assert result.energy > exact - 4 * result.standard_error
