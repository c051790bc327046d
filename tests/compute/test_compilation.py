import logging

import pytest
import torch
from torch import nn

from qmcnet.ansatz import FermiNet
from qmcnet.compute.compilation import Compiled
from qmcnet.laplacian import ForwardLaplacian
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")


@pytest.fixture(scope="module")
def wavefunction():
    sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2}
    return NaturalStates(FermiNet(LIH, **sizes, dtype=torch.float64)).log_psi


def walkers(count):
    return torch.randn(count, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def test_traced_derivatives_equal_those_that_are_not(wavefunction, caplog, monkeypatch):
    # What torch makes of the trace of a whole wavefunction takes it a minute: benchmarks/laplacian.py checks that.
    monkeypatch.setattr(torch, "compile", lambda graph, mode: graph)
    caplog.set_level(logging.INFO)
    compiled, plain = ForwardLaplacian(chunk_size=4, compile=True), ForwardLaplacian(chunk_size=4)
    for count in (7, 4, 8):
        result, expected = compiled(wavefunction, walkers(count)), plain(wavefunction, walkers(count))
        for name in ("value", "gradient", "laplacian", "extra"):
            torch.testing.assert_close(getattr(result, name), getattr(expected, name), rtol=1e-10, atol=1e-10)
    assert caplog.text.count("compiling the local energy for 4 walkers") == 1
    with torch.no_grad():
        for parameter in wavefunction.ensemble.parameters():
            parameter.add_(0.1)
    changed = plain(wavefunction, walkers(4))
    assert not torch.allclose(changed.laplacian, expected.laplacian[:4])
    torch.testing.assert_close(compiled(wavefunction, walkers(4)).laplacian, changed.laplacian, rtol=1e-10, atol=1e-10)


def test_single_precision_products_survive_the_compiler_and_the_next_call():
    from qmcnet.compute.kernels import linear, tanh

    torch.manual_seed(0)
    layer = nn.Linear(256, 256)  # large enough for the kernels of oneDNN
    first, second = torch.randn(2, 40, 4, 256)
    program = Compiled(lambda inputs: (tanh(linear(inputs, layer.weight, layer.bias)),), "layer")
    result, other = program(first)[0], program(second)[0]
    assert result.data_ptr() != other.data_ptr()
    layer.double()
    for inputs, found in ((first, result), (second, other)):
        error = (found.double() - torch.tanh(layer(inputs.double()))).abs().max()
        assert 1e-9 < error < 1e-5
