import copy

import pytest
import torch
from echo import Echo

from qmcnet.compute.team import standing_in, team
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.optimizers import FirstOrder, Kfac, Spring
from qmcnet.stages import trial as module
from qmcnet.stages.stage import Trial
from qmcnet.stages.trial import REPEATS, copied, copied_for, extrapolated, seconds_of_step, timed

OPTIMIZERS = {"spring": Spring, "kfac": Kfac, "adam": lambda ansatz: FirstOrder(ansatz, learning_rate=1e-3)}


def points(law, *sizes):
    return [(size, law(size)) for size in sizes]


def test_three_points_find_the_square_and_two_the_line():
    def law(b):
        return 0.5 + 0.01 * b + 2e-5 * b**2

    def line(b):
        return 0.5 + 0.01 * b

    assert extrapolated(points(law, 4, 32, 256), 1024, 1024, steep=True) == pytest.approx(law(1024))
    assert extrapolated(points(line, 4, 32), 1024, 1024) == pytest.approx(line(1024))
    assert extrapolated([(2, 0.3)], 4, 4) == pytest.approx(0.6)


@pytest.mark.parametrize("steep", [False, True])
def test_what_was_timed_in_full_is_what_was_timed(steep):
    assert extrapolated([(4, 0.3), (32, 0.1), (60, 0.7)], 60, 60, steep) == pytest.approx(0.7)


def test_a_square_is_believed_only_where_there_may_be_one_and_never_below_zero():
    bent, flat = [(4, 0.1), (32, 0.2), (256, 3.0)], [(4, 0.1), (32, 1.0), (256, 3.0)]
    line = 3.0 + 2.8 / 224 * 768
    assert extrapolated(bent, 1024, 1024) == pytest.approx(line)
    assert extrapolated(bent, 1024, 1024, steep=True) > 2 * line
    assert extrapolated(flat, 1024, 1024, steep=True) == pytest.approx(3.0 + 2.0 / 224 * 768)


def test_a_process_has_its_share_and_meets_all_walkers():
    found = points(lambda b: 0.5 + 0.01 * b + 2e-5 * b**2, 4, 32, 256)
    expected = 0.5 + 0.01 * 341 + 2e-5 * 341 * 1023
    assert extrapolated(found, 341, 1023, steep=True) == pytest.approx(expected)


@pytest.fixture
def simulation(make_run, tmp_path):
    return make_run(tmp_path, batch_size=300).simulation


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    monkeypatch.setattr(module, "time", Clock())
    return module.time


def work(simulation, clock, law, seen):
    def make():
        seen.append(len(simulation.walkers.positions))
        clock.now += law(seen[-1]) + (len(seen) == 1) * 7.0  # the first time finds something out

    return make


@pytest.mark.parametrize(("per_walker", "sizes"), [(1e-6, [4, 16, 64, 256, 300]), (1e-3, [4, 16, 64, 256]), (0.1, [4])])
def test_more_walkers_are_timed_until_that_would_take_long(simulation, clock, per_walker, sizes):
    before, seen = simulation.walkers, []
    found = timed(work(simulation, clock, lambda b: per_walker * b, seen), simulation, 300)
    assert seen == [size for size in sizes for _ in range(REPEATS)]
    assert [seconds for _, seconds in found] == pytest.approx([per_walker * size for size in sizes])
    assert simulation.walkers is before


def test_a_step_is_timed_without_a_message_and_adds_up(simulation, clock):
    law = {"linear": lambda b: 0.01 + 1e-3 * b, "steep": lambda b: 1e-6 * b**2}
    trial = Trial(*(work(simulation, clock, law[name], []) for name in law))
    assert seconds_of_step(trial, simulation) == pytest.approx(0.31 + 0.09)
    with standing_in(Echo(3)):
        assert seconds_of_step(trial, simulation) == pytest.approx(0.11 + 0.03)
        assert team().messages == 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_copy_of_an_optimizer_does_as_it_would_to_the_copy_of_its_ansatz(name, make_run, tmp_path):
    run = make_run(tmp_path, optimizer=OPTIMIZERS[name], batch_size=12)
    positions, energies = run.simulation.walkers.positions, torch.linspace(-1, 1, 12, dtype=torch.float64)[:, None]
    run.optimizer.update(positions, energies)
    before, state = copy.deepcopy(run.ensemble.state_dict()), copy.deepcopy(run.optimizer.state_dict())
    twin = copied(run.simulation).ensemble
    copied_for(run.optimizer, run.ensemble, twin).update(positions, energies)
    after = {name: value.clone() for name, value in twin.state_dict().items()}
    assert not all(map(torch.equal, after.values(), before.values()))
    assert all(map(torch.equal, run.ensemble.state_dict().values(), before.values()))
    run.optimizer.load_state_dict(state)
    run.optimizer.update(positions, energies)
    assert all(map(torch.equal, run.ensemble.state_dict().values(), after.values()))


def test_a_copy_is_not_compiled_and_draws_for_itself(make_run, tmp_path):
    run = make_run(tmp_path, compile=True, laplacian=ForwardLaplacian(3, compile=True))
    twin = copied(run.simulation)
    assert twin.laplacian.settings == {"chunk_size": 3, "compile": False}
    assert not twin.compile
    assert twin.generator is not run.simulation.generator
    assert twin.ensemble is not run.ensemble
