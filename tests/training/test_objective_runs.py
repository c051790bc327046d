"""Runs with other objectives: S = 1 is the plain run, and several states reach what is known of them."""

from functools import partial

import pytest
import torch
from torch import nn

from qmcnet import (
    VMC,
    EvaluationSettings,
    FermiNet,
    FirstOrder,
    ForwardLaplacian,
    Kfac,
    Metropolis,
    Molecule,
    PretrainingSettings,
    Schedule,
    Spring,
)
from qmcnet.training.objective import Natural, Penalty
from qmcnet.training.optimization import Optimization
from qmcnet.training.simulation import Simulation
from qmcnet.training.states import ensemble

DOUBLE = torch.float64
HYDROGEN, HELIUM = Molecule.atom("H"), Molecule.atom("He")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, make_run):
    directory = tmp_path_factory.mktemp("plain")
    make_run(directory, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    return (directory / "train_stats.csv").read_text()


@pytest.mark.parametrize("objective", [Natural(), Penalty(), Penalty(strength=7.0, weights=[1.0])])
def test_one_state_has_the_numbers_of_the_plain_run_to_the_last_bit(objective, plain, tmp_path, make_run):
    make_run(tmp_path, objective=objective, evaluation=EvaluationSettings(steps=5, min_steps=1, burn_in=1)).train()
    assert (tmp_path / "train_stats.csv").read_text() == plain


OPTIMIZERS = {
    "spring": partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2),
    "kfac": partial(Kfac, learning_rate=0.05),
    "adam": partial(FirstOrder, learning_rate=1e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_lower_the_penalised_energies(optimizer):
    network = FermiNet(HYDROGEN, n_layers=1, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE)
    objective = Penalty(strength=1.0)
    total, hamiltonian = ensemble(network, ForwardLaplacian(), objective)
    run = Simulation.start(total, hamiltonian, Metropolis(steps=5), 64, 1, torch.device("cpu"))
    stage = Optimization(run, OPTIMIZERS[optimizer](total), 30, objective=objective)

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


class Confined(nn.Module):
    """States times a Gaussian that is wider than that of the trap."""

    def __init__(self, network):
        super().__init__()
        self.network, self.molecule, self.settings = network, network.molecule, network.settings

    def forward(self, positions):
        sign, log_abs_psi = self.network(positions)
        return sign, log_abs_psi - 0.35 * positions.square().sum((-2, -1))[..., None]


def trap(points):
    return 0.5 * points.square().sum((-2, -1)), torch.zeros(len(points), dtype=DOUBLE)


def test_the_states_of_a_trap_are_learned_with_small_overlaps(tmp_path, monkeypatch):
    steps = 150
    network = FermiNet(
        HYDROGEN, n_layers=2, hidden_one=16, hidden_two=4, n_determinants=2, n_states=2, envelope="null", dtype=DOUBLE
    )
    run = VMC(
        Confined(network),
        tmp_path,
        objective=Penalty(strength=4.0, weights=[1.0, 0.25]),
        optimizer=partial(Spring, learning_rate=0.3, momentum=0.9, norm_constraint=0.1),
        schedule=Schedule("cosine", steps),
        sampler=Metropolis(steps=5),
        pretraining=PretrainingSettings(steps=0),
        evaluation=EvaluationSettings(steps=100, burn_in=10),
        steps=steps,
        batch_size=256,
        device="cpu",
    )
    monkeypatch.setattr(run.simulation.hamiltonian, "potential", trap)
    result = run.train()
    energies, errors = ([state["energy"][key] for state in result.states] for key in ("value", "error"))
    assert energies == pytest.approx([1.5, 2.5], abs=5e-3)
    assert sum(energies) > 4.0 - 4 * sum(errors)
    assert result.overlaps[0][1] == pytest.approx(0, abs=0.1)  # 1 without a penalty, and about 1/8 with equal weights
    assert result.overlaps[0][0] == result.overlaps[1][1] == 1


@pytest.mark.parametrize(("penalty", "kept_out"), [(0.0, False), (1.0, True)])
def test_a_spin_penalty_keeps_the_triplet_out_of_helium(penalty, kept_out, tmp_path):
    steps = 60
    run = VMC(
        FermiNet(HELIUM, n_layers=1, hidden_one=12, hidden_two=4, n_determinants=2, n_states=2, dtype=DOUBLE),
        tmp_path,
        objective=Natural(spin_penalty=penalty),
        optimizer=partial(Spring, learning_rate=0.2, momentum=0.9, norm_constraint=0.05),
        schedule=Schedule("cosine", steps),
        sampler=Metropolis(steps=5),
        pretraining=PretrainingSettings(steps=0),
        evaluation=EvaluationSettings(steps=30, burn_in=10),
        steps=steps,
        batch_size=96,
        device="cpu",
    )
    squares = [state["spin"]["s_squared"]["value"] for state in run.train().states]
    assert (max(squares) < 0.2) == kept_out
    assert min(squares) == pytest.approx(0, abs=0.1)
