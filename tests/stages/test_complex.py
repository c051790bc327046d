"""Runs of complex wavefunctions."""

import csv
import math

import pytest
import torch

from qmcnet import FermiNet, Kfac, Spring
from qmcnet.stages.evaluation import Evaluation
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.statistics.estimate import estimate


@pytest.mark.parametrize("optimizer", [Spring, Kfac])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_writes_real_figures_alone(tmp_path, make_run, newest, optimizer, dtype):
    run = make_run(tmp_path, network={"complex": True, "dtype": dtype}, optimizer=optimizer)
    result = run.train()
    assert math.isfinite(result.variance)
    state = newest(tmp_path)
    for table in tmp_path.rglob("*_stats.csv"):
        with open(table) as file:
            assert {name for row in csv.DictReader(file) for name, number in row.items() if "j" in number} == set()
    assert all(isinstance(figure, float) for figure in (result.variance, result.tau, result.r_hat))
    assert {value.dtype for value in state["simulation"]["ansatz"].values()} == {dtype}
    again = make_run(tmp_path, network={"complex": True, "dtype": dtype}, optimizer=optimizer).load_trained()
    assert isinstance(again.ansatz, FermiNet)
    sign, log_abs = again.simulation.ensemble(again.simulation.walkers.positions)
    assert sign.is_complex()
    assert log_abs.dtype == dtype


def test_imaginary_parts_of_the_local_energy_average_to_zero(tmp_path, make_run):
    run = make_run(tmp_path, network={"complex": True, "jastrow": "cusp"}, batch_size=100).simulation
    imaginary, forward = [], run.hamiltonian.forward

    def recorded(states):
        energy = forward(states)
        imaginary.append(energy.total.imag)
        return energy

    run.hamiltonian.forward = recorded
    stage = Evaluation(run, EvaluationSettings(steps=100, burn_in=20))
    while not stage.finished():
        stage.advance()
    assert len(imaginary) == 100
    found = estimate(torch.stack(imaginary).numpy())
    assert found.variance > 0.01
    assert abs(found.mean) < 4 * found.standard_error
    assert found.standard_error < 0.15
