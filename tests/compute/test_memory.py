import logging
import re
import resource
import sys
import weakref
from pathlib import Path

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.compute.chunks import with_halving
from qmcnet.compute.memory import LiveBytes, peak_bytes, predicted_peak
from qmcnet.laplacian import forward_laplacian, torch_func_laplacian
from qmcnet.laplacian.backends import chunked
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
SMALL = {"n_layers": 3, "hidden_one": 24, "hidden_two": 8, "n_determinants": 3}
CPU_FAILURE = "[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
CUBLAS_FAILURE = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
OPTION = "laplacian.chunk_size"


def network(dtype=DOUBLE, **settings):
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    return NaturalStates(FermiNet(molecule, dtype=dtype, **SMALL, **settings))


def measured_peak(wavefunction, n_walkers, dtype):
    positions = torch.randn(n_walkers, 4, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return peak_bytes(lambda r: forward_laplacian(wavefunction.log_psi, r), positions)


def two_temporaries(x):
    return (x * 2 + 1) * 3


def kept(x):
    return [x + i for i in range(5)]


def joined(x):
    return torch.cat([x, x])


def views_and_in_place(x):
    y = x * 2
    y.add_(1).mul_(y[:, :1])
    return y.mT[3:].unsqueeze(0).expand(7, -1, -1)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("function", "copies"),
    [
        (two_temporaries, 2),
        (kept, 5),
        (views_and_in_place, 1),
        (lambda x: x.mT[2:], 0),
        (lambda x: torch.cat([x, x]), 2),
        (torch.sort, 2),
        (lambda x: torch._foreach_add_([x, x.mT], 1.0), 0),
    ],
    ids=["temporaries", "kept", "views and in-place", "view of the input", "cat", "two results", "list in place"],
)
def test_peak_counts_what_is_alive_at_a_time(function, copies, device):
    x = torch.ones(20, 30, dtype=DOUBLE, device=device)
    assert peak_bytes(function, x) == copies * 20 * 30 * 8


def test_memory_given_back_does_not_count_again():
    with LiveBytes() as memory:
        for size in range(1, 300):  # identities of dead storages are used again
            torch.zeros(size, dtype=DOUBLE)
        result = torch.zeros(5, dtype=DOUBLE)
    assert memory.live == result.nbytes
    assert memory.peak == 299 * 8
    del result
    assert memory.live == 0


def test_tensors_in_the_layout_of_onednn_count():
    with torch.no_grad():
        assert peak_bytes(lambda x: x.to_mkldnn().tanh_().to_dense(), torch.ones(50, 50)) == 2 * 50 * 50 * 4


@pytest.mark.parametrize(
    "settings",
    [{}, {"jastrow": "cusp"}, {"full_determinants": False, "envelope": "diagonal"}],
    ids=["full", "cusp", "split"],
)
def test_prediction_equals_what_a_cpu_allocates(settings):
    wavefunction = network(**settings)
    for n_walkers in (1, 3):
        predicted = predicted_peak(forward_laplacian, wavefunction.log_psi, n_walkers, 4, DOUBLE)
        assert predicted == measured_peak(wavefunction, n_walkers, DOUBLE)


def test_prediction_follows_the_reference_back_end():
    molecule = Molecule.chain("H", 2, 1.4, "bohr")
    sizes = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1}
    wavefunction = NaturalStates(FermiNet(molecule, **sizes, dtype=DOUBLE))
    positions = torch.randn(3, 2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        measured = peak_bytes(lambda r: torch_func_laplacian(wavefunction.log_psi, r), positions)
    assert predicted_peak(torch_func_laplacian, wavefunction.log_psi, 3, 2, DOUBLE) == measured


def test_prediction_in_single_precision_is_close():
    # On a CPU some kernels work on copies in a layout of their own.
    wavefunction = network(torch.float32)
    predicted = predicted_peak(forward_laplacian, wavefunction.log_psi, 64, 4)
    assert predicted == pytest.approx(measured_peak(wavefunction, 64, torch.float32), rel=0.1)


def test_peak_is_affine_in_the_walkers():
    wavefunction = network()
    one, two, many = (predicted_peak(forward_laplacian, wavefunction.log_psi, n, 4, DOUBLE) for n in (1, 2, 1000))
    assert many == one + 999 * (two - one)
    assert two > one


def test_prediction_leaves_the_wavefunction_alone():
    wavefunction = network()
    before = {name: tensor.clone() for name, tensor in wavefunction.state_dict().items()}
    predicted_peak(forward_laplacian, wavefunction.log_psi, 2, 4, DOUBLE)
    torch.testing.assert_close(wavefunction.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda x: x if x.sum() > 0 else -x, "aten._local_scalar_dense"),
        (lambda x: x[x > 0], "aten.index"),
        (lambda x: x + torch.ones(3), "aten.add"),
    ],
    ids=["branch", "mask", "tensor elsewhere"],
)
def test_functions_that_need_numbers_are_refused_by_name(function, operation):
    with pytest.raises(NotImplementedError, match=rf"cannot be predicted.*{operation}"):
        peak_bytes(function, torch.empty(3, device="meta"))


def test_a_missing_rule_is_still_reported_as_such():
    with pytest.raises(NotImplementedError, match=r"^the forward Laplacian has no rule .*erfinv"):
        peak_bytes(lambda x: forward_laplacian(torch.erfinv, x), torch.empty(2, 4, 3, device="meta"))


def test_other_errors_on_numbers_pass_through():
    with pytest.raises(RuntimeError, match="size of tensor") as caught:
        peak_bytes(lambda x: x + torch.ones(4), torch.ones(3))
    assert not isinstance(caught.value, NotImplementedError)


def fits_up_to(limit, tried, error):
    def apply(size):
        tried.append(size)
        if size > limit:
            raise error
        return f"in chunks of {size}"

    return apply


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CUBLAS_FAILURE), RuntimeError(CPU_FAILURE)],
    ids=["device", "library", "cpu"],
)
@pytest.mark.parametrize(
    ("size", "limit", "tries"), [(64, 64, [64]), (64, 20, [64, 32, 16]), (7, 1, [7, 3, 1])], ids=str
)
def test_chunks_are_halved_until_they_fit(size, limit, tries, error, caplog):
    tried = []
    with caplog.at_level(logging.WARNING):
        result, worked = with_halving(fits_up_to(limit, tried, error), size, OPTION)
    assert (tried, worked, result) == (tries, tries[-1], f"in chunks of {tries[-1]}")
    expected = [f"out of memory with {old} walkers at once: going on with {OPTION}={old // 2}" for old in tries[:-1]]
    assert caplog.messages == expected


def test_one_walker_that_does_not_fit_ends_it():
    tried = []
    with pytest.raises(torch.OutOfMemoryError, match=rf"{OPTION}=1, one walker at a time: .*you tried to allocate 9"):
        with_halving(fits_up_to(0, tried, RuntimeError(CPU_FAILURE)), 4, OPTION)
    assert tried == [4, 2, 1]


@pytest.mark.parametrize("error", [RuntimeError("singular matrix"), ValueError("can't allocate memory")])
def test_other_errors_are_not_tried_again(error):
    tried = []
    with pytest.raises(type(error), match=str(error)):
        with_halving(fits_up_to(2, tried, error), 8, OPTION)
    assert tried == [8]


def test_tensors_of_a_failed_attempt_are_gone_before_the_next():
    leftovers = []

    def apply(size):
        assert not [reference for reference in leftovers if reference() is not None]
        block = torch.zeros(size)
        leftovers.append(weakref.ref(block))
        if size > 2:
            raise torch.OutOfMemoryError("full")
        return block

    assert len(with_halving(apply, 16, OPTION)[0]) == 2
    assert len(leftovers) == 4


def test_halved_chunks_give_the_same_derivatives():
    wavefunction, positions = network(), torch.randn(6, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))

    def log_abs_psi(x):
        return wavefunction(x)[1]

    def cramped(function, part):
        if len(part) > 2:
            raise torch.OutOfMemoryError("full")
        return forward_laplacian(function, part)

    result, worked = with_halving(lambda size: chunked(cramped, size, log_abs_psi, positions), 6, OPTION)
    expected = forward_laplacian(log_abs_psi, positions)
    assert worked == 1
    torch.testing.assert_close(result.laplacian, expected.laplacian, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(result.gradient, expected.gradient, rtol=1e-10, atol=1e-10)


def cramped():
    logging.basicConfig(force=True)  # in place of the handlers of pytest
    torch.ones(64, 64) @ torch.ones(64, 64)
    used = 1024 * int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
    print(*with_halving(lambda walkers: torch.ones(walkers, 2**20).sum().item() / 2**20, 512, "chunk_size"))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space by means of Linux")
def test_a_process_short_of_memory_goes_on(fork):
    # 4 MiB a walker and 300 MiB left: 64 walkers fit and 128 do not.
    status, output, errors = fork(cramped).wait()
    assert status == 0, errors
    assert output.split() == ["64.0", "64"], errors
    assert errors.count("out of memory with") == 3
