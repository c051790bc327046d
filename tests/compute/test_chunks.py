import logging

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.compute import chunks as module
from qmcnet.compute import device as machine
from qmcnet.compute.chunks import Chunks, bytes_per_walker, out_of_memory
from qmcnet.compute.device import SIZES, Sizes, memory_share, sizes
from qmcnet.laplacian import ForwardLaplacian, backends
from qmcnet.optimizers import FirstOrder, Kfac, Spring
from qmcnet.optimizers.guard import ScoreGuard
from qmcnet.run.vmc import VMC
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

FAILURES = [
    MemoryError(),
    MemoryError("std::bad_alloc"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried"),
    RuntimeError("CUDA error: CUSOLVER_STATUS_ALLOC_FAILED when calling `cusolverDnCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
]
OPTIMIZERS = {
    "spring": Spring,
    "kfac": Kfac,
    "sgd": lambda ansatz, **settings: FirstOrder(ansatz, method=torch.optim.SGD, learning_rate=0.1, **settings),
}


def network():
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    return FermiNet(molecule, n_layers=2, hidden_one=8, hidden_two=4, n_determinants=2, dtype=torch.float64)


def wavefunction():
    return NaturalStates(network())


def batch(count):
    generator = torch.Generator().manual_seed(count)
    positions = torch.randn(count, 4, 3, dtype=torch.float64, generator=generator)
    return positions, torch.randn(count, 1, generator=generator)


def counting(forward, seen):
    """The forward pass of a network that notes its numbers of walkers."""

    def counted(self, positions, nuclei):
        seen.append(positions.shape[0])
        return forward(self, positions, nuclei)

    return counted


def budget(monkeypatch, n_bytes):
    cpu = SIZES["cpu"]
    monkeypatch.setitem(machine.SIZES, "cpu", Sizes(cpu.block, cpu.piece, cpu.differentiated, n_bytes))


@pytest.fixture(autouse=True)
def unguarded(monkeypatch):
    """Leave out the comparisons of a first step, which evaluate walkers of their own."""
    monkeypatch.setattr(ScoreGuard, "__call__", lambda self, positions: None)
    monkeypatch.setattr(backends, "compare", lambda *_: None)


@pytest.fixture
def short_of_memory(monkeypatch):
    """Let evaluations of more than five walkers fail, of a network with or without gradients."""
    forward, seen = FermiNet.forward, []

    def small(self, positions, nuclei):
        seen.append(len(positions))
        if len(positions) > 5:
            raise MemoryError("std::bad_alloc")
        return forward(self, positions, nuclei)

    monkeypatch.setattr(FermiNet, "forward", small)
    return seen


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_lack_of_memory_is_known_whoever_says_it(error):
    assert out_of_memory(error)
    assert not out_of_memory(RuntimeError("shape mismatch"))
    assert not out_of_memory(ValueError("out of memory"))


def test_bytes_of_a_walker_are_what_it_takes():
    positions = torch.ones(9, 2, 3, dtype=torch.float64)
    assert bytes_per_walker(lambda r: (r * 2 + 1) * 3, positions) == 2 * 6 * 8
    assert bytes_per_walker(lambda r: torch.ones(1000), positions) == 1


@pytest.mark.parametrize(("n_bytes", "most", "expected"), [(480, None, 5), (480, 3, 3), (480, 100, 5), (1, None, 1)])
def test_chunks_fit_their_share_of_the_memory(n_bytes, most, expected, monkeypatch):
    budget(monkeypatch, n_bytes)
    chunks, positions = Chunks("option", most), torch.ones(20, 2, 3, dtype=torch.float64)
    seen = []
    chunks.run(seen.append, lambda r: (r * 2 + 1) * 3, positions)
    chunks.run(seen.append, lambda r: pytest.fail("chosen twice"), positions)
    assert seen == [expected, expected]


def test_few_walkers_need_no_choice():
    chunks, seen = Chunks("option"), []
    chunks.run(seen.append, lambda r: pytest.fail("measured"), torch.ones(8, 2, 3))
    assert seen == [8]
    assert chunks.sizes == {}


def test_a_mapped_function_has_chunks_of_nearly_equal_length(monkeypatch):
    budget(monkeypatch, 480)
    positions, lengths = torch.arange(72.0, dtype=torch.float64).view(12, 2, 3), []

    def function(part):
        lengths.append(len(part))
        return part.sum((1, 2))

    result = Chunks("option").map(function, lambda r: (r * 2 + 1) * 3, positions)
    assert torch.equal(result, positions.sum((1, 2)))
    assert lengths == [4, 4, 4]


def test_a_gpu_gives_a_quarter_of_its_memory_or_half_of_what_is_left(monkeypatch):
    state = {"free": 70, "reserved": 10, "allocated": 4}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (state["free"], 80))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: state["reserved"])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state["allocated"])
    cuda = torch.device("cuda", 0)
    assert memory_share(cuda) == 20
    state["free"] = 10
    assert memory_share(cuda) == 8


def test_an_unknown_device_is_treated_as_a_cpu():
    assert sizes(torch.device("meta")) == sizes(torch.device("cpu")) == SIZES["cpu"]
    assert sizes(torch.device("cuda", 1)) == SIZES["cuda"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_goes_on_with_fewer_walkers_when_memory_ends(name, short_of_memory, caplog):
    positions, energies = batch(9)
    expected, found = wavefunction(), wavefunction()
    OPTIMIZERS[name](expected, chunk_size=3).update(positions, energies)
    optimizer = OPTIMIZERS[name](found, chunk_size=100)
    with caplog.at_level(logging.WARNING):
        optimizer.update(positions, energies)
    assert "going on with optimizer.chunk_size=4" in caplog.text
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    caplog.clear()
    again = OPTIMIZERS[name](found, chunk_size=100)
    again.load_state_dict(optimizer.state_dict())
    short_of_memory.clear()
    again.update(positions, energies)
    assert not caplog.text
    assert short_of_memory == [4, 4, 1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_of_earlier_versions_have_no_chunks(name):
    optimizer = OPTIMIZERS[name](wavefunction())
    state = {key: value for key, value in optimizer.state_dict().items() if key != "chunks"}
    optimizer.load_state_dict(state)
    optimizer.update(*batch(9))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scores_are_formed_in_chunks_that_fit(name, monkeypatch):
    optimizer, seen = OPTIMIZERS[name](wavefunction()), []
    monkeypatch.setattr(FermiNet, "forward", counting(FermiNet.forward, seen))
    budget(monkeypatch, 2**18)
    optimizer.update(*batch(200))
    assert seen[:2] == [2, 4]
    assert 4 < max(seen) < 100
    assert sum(seen[2:]) == 200


def run(directory, **settings):
    return VMC(network(), directory, batch_size=20, device="cpu", **settings).simulation


def test_walkers_are_moved_in_chunks_of_any_size_and_a_resumed_run_keeps_it(tmp_path, short_of_memory, caplog):
    simulation = run(tmp_path)
    positions = batch(20)[0]
    expected = torch.cat([simulation._log_prob(part) for part in positions.split(4)])
    found = simulation.log_prob(positions)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not found.is_inference()
    assert "out of memory with 20 walkers at once" in caplog.text
    caplog.clear()
    other = run(tmp_path)
    other.load_state_dict(simulation.state_dict())
    short_of_memory.clear()
    other.log_prob(positions)
    assert short_of_memory == [5] * 4
    assert not caplog.text


@pytest.mark.parametrize("chunk_size", [None, 1000])
def test_a_resumed_run_differentiates_as_many_walkers_as_before(chunk_size, tmp_path, monkeypatch):
    first, second = (run(tmp_path, laplacian=ForwardLaplacian(chunk_size)) for _ in range(2))
    state = first.state_dict()
    state["chunks"]["laplacian"] = {"LogPsi on cpu": 6, "LogPsi on cuda": 19}
    second.load_state_dict(state)
    monkeypatch.setattr(module, "peak_bytes", lambda *_: pytest.fail("chosen again"))
    seen = []
    monkeypatch.setattr(FermiNet, "forward", counting(FermiNet.forward, seen))
    second.states()
    assert seen == [5, 5, 5, 5]
    assert second.state_dict()["chunks"]["laplacian"] == state["chunks"]["laplacian"]


def test_a_simulation_of_an_earlier_version_has_no_chunks(tmp_path):
    simulation = run(tmp_path)
    simulation.load_state_dict({key: value for key, value in simulation.state_dict().items() if key != "chunks"})
    simulation.log_prob(batch(20)[0])
