"""The energy of a whole short run; benchmarks/energies.py has every optimiser, to the last millihartree."""

import csv
import statistics
from functools import partial

import pytest
import torch

from qmcnet import (
    VMC,
    Clipping,
    EvaluationSettings,
    FermiNet,
    Metropolis,
    Molecule,
    PretrainingSettings,
    Schedule,
    Spring,
)

HARTREE_FOCK, EXACT = -2.861680, -2.903724
"""Of helium in hartree; the latter from Schwartz, Int. J. Mod. Phys. E 15, 877 (2006)."""


def test_a_short_run_is_between_hartree_fock_and_the_exact_energy(tmp_path):
    sizes = {"n_layers": 1, "hidden_one": 16, "hidden_two": 8, "n_determinants": 2, "jastrow": "cusp"}
    run = VMC(
        FermiNet(Molecule.atom("He"), **sizes, seed=2, dtype=torch.float64),
        tmp_path,
        optimizer=partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2),
        clipping=Clipping(10.0),
        schedule=Schedule(decay_steps=50),
        sampler=Metropolis(steps=5),
        pretraining=PretrainingSettings(steps=30, basis="sto-3g", learning_rate=1e-2),
        evaluation=EvaluationSettings(steps=60, burn_in=10),
        steps=60,
        batch_size=128,
        seed=2,
        device="cpu",
    )
    result = run.train()
    with (tmp_path / "evaluation" / "evaluation_stats.csv").open() as file:
        energies = [float(row["energy"]) for row in csv.DictReader(file)]
    # Ten blocks, so that steps may resemble their neighbours; a run that is judged not to be stationary counts, too.
    blocks = [statistics.fmean(energies[i : i + 6]) for i in range(0, 60, 6)]
    energy, error = statistics.fmean(energies), statistics.stdev(blocks) / 10**0.5
    print(f"\n{energy:.5f} +- {error:.5f} hartree")
    assert error < 1e-2
    assert EXACT - 6 * error < energy < HARTREE_FOCK - 0.005
    assert result.energy is None or result.energy == pytest.approx(energy, abs=6 * error)
