"""Several states at once: what a run computes with, that it learns exact spectra, and that it may be stopped."""

from functools import partial

import numpy as np
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
    LapNet,
    Metropolis,
    MolecularHamiltonian,
    Molecule,
    PretrainingSettings,
    Psiformer,
    Schedule,
    Spring,
)
from qmcnet.ansatz.natural_states import NaturalStates
from qmcnet.hamiltonian import StatesHamiltonian
from qmcnet.hamiltonian.states import trace
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.statistics.averages import Averages
from qmcnet.statistics.window import choose_window
from qmcnet.training.evaluation import Evaluation
from qmcnet.training.interruption import Interrupted
from qmcnet.training.optimization import Optimization
from qmcnet.training.result import Result
from qmcnet.training.simulation import Simulation
from qmcnet.training.states import ensemble

DOUBLE = torch.float64
HYDROGEN = Molecule.atom("H")
SMALL = {
    FermiNet: {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2},
    Psiformer: {"n_layers": 1, "n_heads": 2, "head_size": 4, "perceptron_size": 6, "n_determinants": 2},
    LapNet: {"n_layers": 2, "n_heads": 2, "head_size": 4, "n_single": 1, "n_determinants": 2},
}
each_ansatz = pytest.mark.parametrize("ansatz", SMALL)


def network(ansatz, molecule, n_states, **options):
    return ansatz(molecule, **SMALL[ansatz] | options, n_states=n_states, dtype=DOUBLE)


@each_ansatz
def test_one_state_is_computed_as_ever(ansatz):
    bare = network(ansatz, HYDROGEN, 1)
    wavefunction, hamiltonian = ensemble(bare, ForwardLaplacian())
    assert wavefunction is bare
    assert type(hamiltonian) is MolecularHamiltonian


@each_ansatz
def test_several_states_are_computed_as_one_wavefunction(ansatz):
    states, laplacian = network(ansatz, HYDROGEN, 3), ForwardLaplacian()
    wavefunction, hamiltonian = ensemble(states, laplacian)
    assert type(wavefunction) is NaturalStates
    assert wavefunction.network is states
    assert (wavefunction.n_states, wavefunction.molecule) == (3, HYDROGEN)
    assert type(hamiltonian) is StatesHamiltonian
    assert hamiltonian.laplacian is laplacian
    assert {id(p) for p in wavefunction.parameters()} == {id(p) for p in states.parameters()}


@each_ansatz
@pytest.mark.parametrize("chunk_size", [2, 100])
def test_scores_of_the_total_ansatz_are_autograd_walker_by_walker(ansatz, chunk_size):
    total = NaturalStates(network(ansatz, Molecule.atom("Li"), 3))
    positions = torch.randn(4, 9, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    rows = []
    for walker in positions:
        gradients = torch.autograd.grad(total(walker[None])[1].sum(), list(total.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = torch.stack(rows)
    assert (expected.abs().amax(0) > 0).double().mean() > 0.9
    torch.testing.assert_close(per_walker_scores(total, positions, chunk_size), expected, rtol=1e-9, atol=1e-9)


OPTIMIZERS = {
    "spring": partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2),
    "kfac": partial(Kfac, learning_rate=0.05),
    "adam": partial(FirstOrder, learning_rate=1e-2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@each_ansatz
def test_updates_lower_the_trace_but_not_below_the_exact_sum(ansatz, optimizer):
    total, hamiltonian = ensemble(network(ansatz, HYDROGEN, 2), ForwardLaplacian())
    run = Simulation.start(total, hamiltonian, Metropolis(steps=5), 64, 1, torch.device("cpu"))
    stage = Optimization(run, OPTIMIZERS[optimizer](total), 30)

    def measure():
        samples = []
        for _ in range(15):
            run.walkers, _ = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
            samples.append(run.hamiltonian.local_energy(total, run.walkers.positions).total)
        means = torch.stack(samples).mean(0)
        return means.mean().item(), means.std().item() / len(means) ** 0.5

    measure()
    before, error_before = measure()
    rows = [stage.advance() for _ in range(30)]
    after, error_after = measure()
    assert after < before - 4 * (error_before + error_after)
    assert after > -0.625 - 4 * error_after
    assert all(row["state"].shape == (2, 2) for row in rows)
    torch.testing.assert_close(trace(rows[-1]["state"]), rows[-1]["energy"])


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


EXACT = {"hydrogen": [-0.5] + [-0.125] * 4, "trap": [1.5] + [2.5] * 3}
STEPS = {"hydrogen": 250, "trap": 150}


@pytest.mark.parametrize("name", EXACT)
def test_exact_spectra_are_learned(name, tmp_path, monkeypatch, newest):
    exact, steps = EXACT[name], STEPS[name]
    sizes = {"n_layers": 2, "hidden_one": 32, "hidden_two": 8, "n_determinants": 4, "n_states": len(exact)}
    atomic = name == "hydrogen"
    run = VMC(
        FermiNet(HYDROGEN, **sizes) if atomic else Confined(FermiNet(HYDROGEN, **sizes, envelope="null")),
        tmp_path,
        optimizer=partial(Spring, learning_rate=0.3, momentum=0.9, norm_constraint=0.1),
        schedule=Schedule("cosine", steps),
        sampler=Metropolis(steps=5),
        pretraining=PretrainingSettings(steps=0),
        evaluation=EvaluationSettings(steps=100, burn_in=10),
        steps=steps,
        batch_size=256,
        device="cpu",
    )
    if not atomic:
        monkeypatch.setattr(run.simulation.hamiltonian, "potential", trap)
    result = run.train()
    averages = Averages()
    averages.load_state_dict(newest(tmp_path)["stage_state"]["averages"], torch.device("cpu"))
    window = choose_window(averages)
    energies, errors = [state.mean for state in window.states], [state.standard_error for state in window.states]
    assert energies == pytest.approx(exact, abs=1e-3)
    assert sum(energies) > sum(exact) - 4 * sum(errors)
    assert max(errors) < 3e-4
    assert result.stationary or atomic
    # Whether a number is quoted is for the evaluation to say; what was averaged is right in any case.
    quoted = [(state["energy"]["value"], state["energy"]["error"]) for state in result.states]
    assert quoted == (list(zip(energies, errors, strict=True)) if result.stationary else [])
    assert (result.energy, result.standard_error) == (quoted[0] if quoted else (None, None))
    # The virial theorem, of the sum: noise mixes degenerate states.
    kinetic = np.trace(averages.means(window.discarded)["kinetic"][0])
    assert kinetic == pytest.approx(-sum(exact) if atomic else sum(exact) / 2, rel=0.05)


STATES = {
    "symbol": "He",
    "network": {"n_states": 2},
    "pretraining": PretrainingSettings(steps=0),
    "evaluation": EvaluationSettings(steps=20, min_steps=10, burn_in=3),
}
TABLES = ("train_stats.csv", "evaluation/evaluation_stats.csv")


def same(first, second):
    """Whether two nested states are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_run, any_series_is_an_estimate):
    directory = tmp_path_factory.mktemp("states")
    make_run(directory, **STATES).train()
    return directory


@pytest.mark.parametrize(("stage", "count"), [(Optimization, 1), (Optimization, 4), (Evaluation, 2), (Evaluation, 20)])
def test_a_run_of_states_is_stopped_and_continued_to_the_last_bit(
    tmp_path, make_run, newest, stop_at, whole, stage, count
):
    stop_at(stage, count)
    with pytest.raises(Interrupted):
        make_run(tmp_path, **STATES).train()
    make_run(tmp_path, **STATES).train()
    for table in TABLES:
        assert (tmp_path / table).read_text() == (whole / table).read_text()
    assert same(newest(tmp_path) | {"wall_seconds": 0}, newest(whole) | {"wall_seconds": 0})
    results = [Result.read(directory / "result.json") for directory in (tmp_path, whole)]
    assert results[0].states == results[1].states
    assert results[0].warnings == results[1].warnings


def test_another_seed_has_other_states(tmp_path, make_run, newest, whole):
    make_run(tmp_path, **STATES, seed=1).train()
    assert not same(newest(tmp_path)["stage_state"], newest(whole)["stage_state"])
    assert Result.read(tmp_path / "result.json").states != Result.read(whole / "result.json").states


def test_the_result_gives_the_lowest_state_and_the_table_all(whole, newest):
    result = Result.read(whole / "result.json")
    assert len(result.states) == 2
    assert result.states[0]["energy"]["value"] <= result.states[1]["energy"]["value"]
    header = (whole / "train_stats.csv").read_text().splitlines()[0].split(",")
    assert {"state_0", "state_1"} <= set(header)
    recorded = newest(whole)["stage_state"]
    assert sum(part["count"].sum().item() for part in recorded["averages"]["bins"]) == 20 * 16
    assert newest(whole)["simulation"]["walkers"]["positions"].shape == (16, 4, 3)
