"""Runs with other objectives: S = 1 is the plain run; what is learned is in benchmarks/spectra.py."""

import numpy as np
import pytest
import torch

from qmcnet import (
    EvaluationSettings,
    FermiNet,
    ForwardLaplacian,
    Metropolis,
    MolecularHamiltonian,
    Molecule,
    Penalty,
    Spring,
)
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.simulation import Simulation

DOUBLE = torch.float64
HYDROGEN = Molecule.atom("H")


def numbers(directory):
    return np.loadtxt(directory / "train_stats.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, make_run):
    directory = tmp_path_factory.mktemp("plain")
    make_run(directory, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    return numbers(directory)


@pytest.mark.parametrize("objective", [Penalty(), Penalty(strength=7.0, weights=[1.0])])
def test_one_state_has_the_numbers_of_the_plain_run(objective, plain, tmp_path, make_run):
    """But for the rounding of energies to which the constant overlap of the state with itself is added."""
    make_run(tmp_path, objective=objective, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    np.testing.assert_allclose(numbers(tmp_path), plain, rtol=1e-10, atol=1e-13)


def test_updates_lower_the_penalised_energies():
    network = FermiNet(HYDROGEN, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE)
    objective = Penalty(strength=1.0)
    total, how = objective.ensemble(network), (MolecularHamiltonian(HYDROGEN), ForwardLaplacian(), Metropolis(steps=5))
    run = Simulation.start(total, *how, 64, 1, torch.device("cpu"))
    stage = Optimization(
        run, Spring(total, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2), 30, objective=objective
    )

    def measure():
        samples = []
        for _ in range(15):
            run.walkers, _ = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
            samples.append(run.hamiltonian(run.states()))
        overlap = torch.cat([sample.overlap for sample in samples]).mean(0)
        return torch.stack([sample.total.mean() for sample in samples]).mean().item() + (overlap[0, 1] * overlap[1, 0])

    measure()
    before = measure()
    for _ in range(30):
        stage.advance()
    after = measure()
    assert after < before - 0.1
    assert after > -0.625 - 0.05
