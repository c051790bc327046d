import platform
from functools import partial

import pytest
import torch

from qmcnet import FermiNet, Molecule
from qmcnet.compute import kernels
from qmcnet.compute.kernels import choose_library, library, linear, processor, use_library
from qmcnet.compute.process import prepare_process
from qmcnet.report.origin import origin
from qmcnet.run.identity import config_hash
from qmcnet.run.vmc import VMC

INTEL = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\n"
AMD = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\n"


@pytest.fixture(autouse=True)
def automatic(monkeypatch):
    """Choose by the processor, and leave the choice of the suite behind."""
    monkeypatch.setenv("QMCNET_CPU_KERNELS", "auto")
    use_library(None)
    yield monkeypatch
    monkeypatch.undo()
    use_library(None)


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Take this machine for another."""
    return partial(another, monkeypatch, tmp_path / "cpuinfo")


def another(monkeypatch, path, cpuinfo, system="Linux", machine="x86_64", name="x86_64"):
    monkeypatch.setattr(kernels, "CPUINFO", path)
    path.unlink(missing_ok=True)
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "processor", lambda: name)
    use_library(None)


@pytest.mark.parametrize(
    ("arguments", "maker", "chosen"),
    [
        ((INTEL,), "Intel", "mkl"),
        ((AMD,), "AMD", "onednn"),
        ((ARM, "Linux", "aarch64", ""), "", "onednn"),
        ((None, "Darwin", "x86_64", "i386"), "Intel", "mkl"),
        ((None, "Darwin", "arm64", "arm"), "", "onednn"),
        ((None, "Windows", "AMD64", "Intel64 Family 6 Model 142 Stepping 10, GenuineIntel"), "Intel", "mkl"),
        ((None, "Windows", "AMD64", "AMD64 Family 25 Model 33 Stepping 0, AuthenticAMD"), "AMD", "onednn"),
    ],
)
def test_the_processor_chooses_what_multiplies_matrices(arguments, maker, chosen, pretend, monkeypatch):
    monkeypatch.setattr(kernels, "HAS_ONEDNN", True)
    pretend(*arguments)
    assert processor() == maker
    assert library() == choose_library() == chosen
    monkeypatch.setattr(kernels, "HAS_ONEDNN", False)
    use_library("onednn")
    assert library() == "mkl"


@pytest.mark.parametrize("asked", ["onednn", "mkl"])
def test_the_environment_has_the_last_word(asked, monkeypatch):
    monkeypatch.setenv("QMCNET_CPU_KERNELS", asked)
    for recorded in ("onednn", "mkl", None):
        use_library(recorded)
        assert library() == asked


def test_an_unknown_library_is_refused(monkeypatch):
    monkeypatch.setenv("QMCNET_CPU_KERNELS", "blis")
    use_library(None)
    with pytest.raises(ValueError, match="QMCNET_CPU_KERNELS='blis' must be one of onednn, mkl, auto"):
        library()
    monkeypatch.setenv("QMCNET_CPU_KERNELS", "onednn")
    monkeypatch.setattr(kernels, "HAS_ONEDNN", False)
    use_library(None)
    with pytest.raises(ValueError, match="has no oneDNN"):
        library()


@pytest.mark.skipif(not kernels.HAS_ONEDNN, reason="this build of torch has no oneDNN")
@pytest.mark.parametrize(("chosen", "calls"), [("onednn", 1), ("mkl", 0)])
@pytest.mark.parametrize("context", [torch.inference_mode, kernels.traceable])
def test_products_go_where_they_are_sent(chosen, calls, context, monkeypatch):
    taken, exact = [], kernels.onednn_linear

    def onednn(*arguments):
        taken.append(1)
        return exact(*arguments)

    monkeypatch.setattr(kernels, "onednn_linear", onednn)
    x, weight = (torch.randn(n, 128, generator=torch.Generator().manual_seed(n)) for n in (256, 64))
    use_library(chosen)
    with torch.no_grad(), context():
        result = linear(x, weight)
    assert len(taken) == calls
    torch.testing.assert_close(result.double(), x.double() @ weight.double().mT, rtol=1e-5, atol=1e-4)


def run(directory):
    molecule = Molecule.atom("He")
    network = FermiNet(molecule, n_layers=1, hidden_one=4, hidden_two=2, n_determinants=1)
    return VMC(network, directory, batch_size=4, device="cpu")


def test_a_run_keeps_the_library_that_it_was_started_with(tmp_path, pretend, monkeypatch):
    pretend(INTEL)
    first = run(tmp_path)
    state = first.simulation.state_dict()
    assert state["cpu_kernels"] == "mkl"
    assert origin(first.molecule, first.config, config_hash(first.config))["cpu_kernels"] == "mkl"
    pretend(AMD)
    monkeypatch.setattr(kernels, "HAS_ONEDNN", True)
    prepare_process()
    assert library() == "onednn"
    run(tmp_path).simulation.load_state_dict(state)
    assert library() == "mkl"
    prepare_process()
    assert library() == "onednn"


@pytest.mark.skipif(not kernels.HAS_ONEDNN, reason="this build of torch has no oneDNN")
def test_runs_of_earlier_versions_multiplied_by_onednn(tmp_path, pretend):
    pretend(INTEL)
    simulation = run(tmp_path).simulation
    simulation.load_state_dict({key: value for key, value in simulation.state_dict().items() if key != "cpu_kernels"})
    assert library() == "onednn"
