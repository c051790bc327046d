"""What only a GPU shows: its numbers, the waits that torch reports, a resumed run. A CPU shows that the tests work."""

import contextlib
import io
from functools import partial

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from qmcnet import (
    VMC,
    EvaluationSettings,
    FermiNet,
    FirstOrder,
    Kfac,
    Metropolis,
    Molecule,
    PretrainingSettings,
    Spring,
    states_at,
)
from qmcnet.run.intervals import LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings

OPTIMIZERS = {
    "spring": Spring,
    "minsr": partial(Spring, momentum=0.0),
    "prime_sr": partial(Spring, momentum=None),
    "kfac": partial(Kfac, inverse_every=2),
    "adam": FirstOrder,
    "sgd": partial(FirstOrder, method=torch.optim.SGD),
}


@pytest.fixture(params=["cpu spring", *(f"cuda {name}" for name in OPTIMIZERS)])
def place_and_name(request):
    place, name = request.param.split()
    if place == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    return place, name


@pytest.fixture
def device(place_and_name):
    return place_and_name[0]


@pytest.fixture
def make(tmp_path, place_and_name):
    """A small run without pretraining, which needs PySCF."""

    device, name = place_and_name

    def build(on=device, **settings):
        molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
        sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2, "dtype": torch.float64}
        defaults = {
            "sampler": Metropolis(steps=2),
            "pretraining": PretrainingSettings(steps=0),
            "burn_in": BurnInSettings(min_sweeps=1, max_sweeps=1),
            "evaluation": EvaluationSettings(steps=20, burn_in=2),
            "logging": LoggingSettings(every=2),
            "steps": 4,
            "batch_size": 16,
        }
        network = FermiNet(molecule, **sizes)
        return VMC(network, tmp_path, optimizer=OPTIMIZERS[name], device=on, **(defaults | settings))

    return build


@contextlib.contextmanager
def no_wait(device):
    """Let torch refuse what would wait for a GPU."""
    if device == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def test_a_run_ends_with_a_result(make, device):
    run = make(observables=["dipole", "spin"])
    result = run.train()
    assert (result.trained_steps, result.evaluation_steps, result.nonfinite) == (4, 20, 0)
    assert {parameter.device.type for parameter in run.ansatz.parameters()} == {device}


def test_a_step_does_not_wait(make, device):
    stage = make()._optimization()
    for _ in range(2):  # the first ones allocate; of KFAC they decompose
        stage.advance()
    with no_wait(device):
        stage.advance()


def test_a_resumed_optimisation_takes_the_same_steps_to_the_last_bit(make):
    run = make()
    stage, file = run._optimization(), io.BytesIO()
    for step in range(6):
        if step == 3:
            torch.save({"simulation": run.simulation.state_dict(), "stage": stage.state_dict()}, file)
        stage.advance()
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    other = make()
    other.simulation.load_state_dict(state["simulation"])
    resumed = other._optimization()
    resumed.load_state_dict(state["stage"])
    for _ in range(3):
        resumed.advance()
    assert torch.equal(parameters_to_vector(other.ansatz.parameters()), parameters_to_vector(run.ansatz.parameters()))
    assert torch.equal(other.simulation.walkers.positions, run.simulation.walkers.positions)


def test_energies_and_an_update_are_those_of_the_cpu(make, device):
    found = []
    for where in ("cpu", device):
        run = make(on=where)
        positions = torch.randn(16, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(where)
        states = states_at(run.simulation.ensemble, positions, run.laplacian, run.simulation.generator)
        energy = run.objective(run.simulation.hamiltonian(states), ())
        run.optimizer.update(positions, energy)
        found.append((energy.cpu(), parameters_to_vector(run.ansatz.parameters()).detach().cpu()))
    torch.testing.assert_close(*(energy for energy, _ in found), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(*(parameters for _, parameters in found), rtol=1e-7, atol=1e-9)
