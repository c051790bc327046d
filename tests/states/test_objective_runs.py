"""Runs with other objectives: S = 1 is the plain run; what is learned is in benchmarks/spectra.py."""

import pytest
import torch
from qmcnet.stages.ensemble import ensemble
from qmcnet.stages.objective import Natural, Penalty

from qmcnet import EvaluationSettings, FermiNet, ForwardLaplacian, Metropolis, Molecule, Spring
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.simulation import Simulation

DOUBLE = torch.float64
HYDROGEN = Molecule.atom("H")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, make_run):
    directory = tmp_path_factory.mktemp("plain")
    make_run(directory, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    return (directory / "train_stats.csv").read_text()


@pytest.mark.parametrize("objective", [Natural(), Penalty(), Penalty(strength=7.0, weights=[1.0])])
def test_one_state_has_the_numbers_of_the_plain_run_to_the_last_bit(objective, plain, tmp_path, make_run):
    make_run(tmp_path, objective=objective, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    assert (tmp_path / "train_stats.csv").read_text() == plain


def test_updates_lower_the_penalised_energies():
    network = FermiNet(HYDROGEN, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE)
    objective = Penalty(strength=1.0)
    total, hamiltonian = ensemble(network, ForwardLaplacian(), objective)
    run = Simulation.start(total, hamiltonian, Metropolis(steps=5), 64, 1, torch.device("cpu"))
    stage = Optimization(
        run, Spring(total, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2), 30, objective=objective
    )

    def measure():
        samples = []
        for _ in range(15):
            run.walkers, _ = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
            samples.append(run.hamiltonian.local_energy(total, run.walkers.positions))
        overlap = torch.cat([sample.overlap_matrix for sample in samples]).mean(0)
        return torch.stack([sample.total.mean() for sample in samples]).mean().item() + (overlap[0, 1] * overlap[1, 0])

    measure()
    before = measure()
    for _ in range(30):
        stage.advance()
    after = measure()
    assert after < before - 0.1
    assert after > -0.625 - 0.05
