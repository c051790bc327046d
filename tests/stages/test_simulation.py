from functools import partial

import torch

from qmcnet.run.identity import identity


def test_a_state_restores_parameters_walkers_and_random_numbers(tmp_path, make_run):
    first, second = make_run(tmp_path).simulation, make_run(tmp_path, seed=8).simulation
    state = first.state_dict()
    assert not torch.equal(first.walkers.positions, second.walkers.positions)
    second.load_state_dict(state)
    sweeps = [run.sampler.sweep(run.log_prob, run.walkers, run.generator)[0] for run in (first, second)]
    assert torch.equal(sweeps[0].positions, sweeps[1].positions)
    assert torch.equal(sweeps[0].width, sweeps[1].width)


def test_a_state_of_another_device_starts_new_random_numbers(tmp_path, make_run, caplog):
    first, second, third = (make_run(tmp_path, seed=seed).simulation for seed in (0, 8, 9))
    seed_and_offset_of_cuda = torch.arange(16, dtype=torch.uint8)
    state = first.state_dict() | {"generator": seed_and_offset_of_cuda}
    second.load_state_dict(state)
    assert "another kind of device" in caplog.text
    third.load_state_dict(state)
    assert torch.equal(second.walkers.positions, first.walkers.positions)
    draws = [torch.rand(4, generator=run.generator) for run in (first, second, third)]
    assert torch.equal(draws[1], draws[2])
    assert not torch.equal(draws[0], draws[1])


def test_the_seed_decides_where_walkers_start(tmp_path, make_run):
    runs = [make_run(tmp_path, seed=seed).simulation for seed in (1, 1, 2)]
    assert torch.equal(runs[0].walkers.positions, runs[1].walkers.positions)
    assert not torch.equal(runs[0].walkers.positions, runs[2].walkers.positions)
    assert runs[0].walkers.positions.shape == (8, 2, 3)


def test_log_prob_is_that_of_psi_squared(tmp_path, make_run):
    run = make_run(tmp_path).simulation
    positions = run.walkers.positions
    assert torch.equal(run.log_prob(positions), 2 * run.ensemble(positions)[1])


def test_finite_looks_at_parameters_and_walkers(tmp_path, make_run):
    run = make_run(tmp_path).simulation
    assert run.finite()
    with torch.no_grad():
        run.ensemble.network.layers[0].own.bias[0] = torch.inf
    assert not run.finite()
    other = make_run(tmp_path).simulation
    other.walkers = other.walkers.replace(positions=other.walkers.positions * torch.nan)
    assert not other.finite()


def test_log_probabilities_may_be_used_outside_of_inference(tmp_path, make_run):
    run = make_run(tmp_path).simulation
    log_prob = run.log_prob(run.walkers.positions)
    assert not log_prob.is_inference()
    torch.testing.assert_close(log_prob, 2 * run.ensemble(run.walkers.positions)[1].detach())


def test_compiled_sampling_follows_the_same_probability(tmp_path, make_run, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # without code to be compiled
    run = make_run(tmp_path, compile=True)
    assert run.laplacian.compile
    simulation = run.simulation
    positions = simulation.walkers.positions
    expected = 2 * simulation.ensemble(positions)[1].detach()
    torch.testing.assert_close(simulation.log_prob(positions), expected, rtol=1e-10, atol=1e-10)
    assert run.config["compile"]
    assert run.config["laplacian"]["compile"]
    assert identity(run.config) == identity(make_run(tmp_path).config)
