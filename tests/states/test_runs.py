"""Several states at once: what a run computes with, that it learns exact spectra, and that it may be stopped."""

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
    LapNet,
    Metropolis,
    MolecularHamiltonian,
    Molecule,
    NaturalStates,
    PretrainingSettings,
    Psiformer,
    Spring,
)
from qmcnet.operators.hamiltonian import trace
from qmcnet.operators.kinetic import Kinetic
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.report.result import Result
from qmcnet.run.interruption import Interrupted
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.optimization import Optimization
from qmcnet.stages.simulation import Simulation

DOUBLE = torch.float64
HYDROGEN = Molecule.atom("H")


@pytest.mark.parametrize("n_states", [1, 3])
def test_states_are_computed_as_one_wavefunction(ansatz, n_states, small):
    states = small(ansatz, HYDROGEN, n_states)
    wavefunction = NaturalStates(states)
    assert wavefunction.network is states
    assert (wavefunction.n_states, wavefunction.molecule) == (n_states, HYDROGEN)
    assert {id(p) for p in wavefunction.parameters()} == {id(p) for p in states.parameters()}


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_scores_of_the_total_ansatz_are_autograd_walker_by_walker(ansatz, chunk_size, small):
    total = NaturalStates(small(ansatz, Molecule.atom("Li"), 3))
    positions = torch.randn(4, 9, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    rows = []
    for walker in positions:
        gradients = torch.autograd.grad(total(walker[None])[1].sum(), list(total.parameters()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    expected = torch.stack(rows)
    assert (expected.abs().amax(0) > 0).double().mean() > 0.9
    torch.testing.assert_close(per_walker_scores(total, positions, chunk_size), expected, rtol=1e-9, atol=1e-9)


OPTIMIZERS = {
    FermiNet: partial(Spring, learning_rate=0.1, momentum=0.9, norm_constraint=1e-2),
    Psiformer: partial(Kfac, learning_rate=0.05),
    LapNet: partial(FirstOrder, learning_rate=1e-2),
}


def test_updates_lower_the_trace_but_not_below_the_exact_sum(ansatz, small):
    total = NaturalStates(small(ansatz, HYDROGEN, 2))
    how = MolecularHamiltonian(HYDROGEN), ForwardLaplacian(), Metropolis(steps=5)
    run = Simulation.start(total, *how, 64, 1, torch.device("cpu"))
    stage = Optimization(run, OPTIMIZERS.get(ansatz, OPTIMIZERS[FermiNet])(total), 30)

    def measure():
        samples = []
        for _ in range(15):
            run.walkers, _ = run.sampler.sweep(run.log_prob, run.walkers, run.generator)
            samples.append(run.hamiltonian(run.states()).total)
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


class Trapped(nn.Module):
    """A state without and three with one quantum in a harmonic trap, mixed by a matrix."""

    def __init__(self, matrix):
        super().__init__()
        self.molecule, self.settings, self.matrix = HYDROGEN, {}, nn.Parameter(matrix)

    def forward(self, positions, nuclei):
        r = positions.squeeze(-2)
        states = torch.cat([torch.ones_like(r[..., :1]), r], -1) * torch.exp(-r.square().sum(-1, keepdim=True) / 2)
        return torch.linalg.slogdet((states @ self.matrix)[..., None, None])


class Trap:
    name = "trap"

    def __call__(self, states):
        return states.times(0.5 * states.positions.square().sum((-2, -1))[:, None])


def test_a_run_finds_an_exact_spectrum_in_the_span_of_the_states(tmp_path, mixing):
    run = VMC(
        Trapped(mixing(4)),
        tmp_path,
        sampler=Metropolis(steps=5),
        pretraining=PretrainingSettings(steps=0),
        evaluation=EvaluationSettings(steps=30, min_steps=10, burn_in=10),
        steps=0,
        batch_size=64,
        device="cpu",
    )
    run.simulation.hamiltonian.terms = Kinetic(), Trap()
    states = run.train().states
    energies = [state["energy"]["value"] for state in states]
    assert energies == pytest.approx([1.5, 2.5, 2.5, 2.5], abs=1e-7)
    assert max(state["energy"]["error"] for state in states) < 1e-7
    # The virial theorem, of the sum: degenerate states are mixed.
    kinetic, errors = ([state["kinetic"][key] for state in states] for key in ("value", "error"))
    assert sum(kinetic) == pytest.approx(sum(energies) / 2, abs=5 * sum(errors))
    assert sum(errors) < 1


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


@pytest.mark.parametrize(("stage", "count"), [(Optimization, 4), (Evaluation, 20)])
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
    assert recorded["averages"]["bins"]["count"].sum().item() == 20 * 8
    assert newest(whole)["simulation"]["walkers"]["positions"].shape == (8, 4, 3)
