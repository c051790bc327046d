"""What no update may change: frozen parameters, and everything when a batch holds no numbers. For every optimiser."""

import math

import pytest
import torch
from evaluating import Toy
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from qmcnet import FermiNet, FirstOrder, Molecule, Spring
from qmcnet.config.naming import config_directory
from qmcnet.optimizers import Kfac
from qmcnet.optimizers.averaging import AveragingSettings, ParameterAverage
from qmcnet.optimizers.first_order import step_without_waiting

NAMES = sorted(path.stem for path in (config_directory() / "optimizer").glob("*.yaml"))


@pytest.fixture(scope="module")
def optimizers():
    """What makes each optimiser of the configuration."""
    with initialize_config_dir(str(config_directory()), version_base=None):
        return {name: instantiate(compose("config", [f"optimizer={name}"]).optimizer) for name in NAMES}


@pytest.fixture(params=NAMES)
def make(request, optimizers):
    return optimizers[request.param]


def frozen(ansatz, names):
    for name, parameter in ansatz.named_parameters():
        parameter.requires_grad_(not name.startswith(names))
    return ansatz


def values(ansatz):
    return {name: parameter.detach().clone() for name, parameter in ansatz.named_parameters()}


@pytest.mark.parametrize(
    "part", ["first", "first.weight", "second.weight", "network.head.orbitals.envelope", "network.layers"]
)
def test_frozen_parameters_keep_their_bits_and_the_others_move(part, make, network, perceptron, batches):
    ansatz = frozen(perceptron() if part.startswith(("first", "second")) else network(Molecule.atom("He")), part)
    assert not all(parameter.requires_grad for parameter in ansatz.parameters())
    before, optimizer = values(ansatz), make(ansatz)
    average = ParameterAverage(ansatz, AveragingSettings("exponential", decay=0.3))
    for step, batch in enumerate(batches(3, 30), 1):
        optimizer.update(*batch)
        average.update(step)
    last = values(ansatz)
    average.apply()
    for after in (last, values(ansatz)):
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        trained = {name for name, parameter in ansatz.named_parameters() if parameter.requires_grad}
        # A factor of psi, such as the last bias of the perceptron, has scores without a variance.
        assert moved <= trained <= moved | {"second.bias"}


@pytest.mark.parametrize("size", [9, 40])
def test_updates_are_those_of_a_wavefunction_without_the_frozen_parameters(size, make, perceptron, batches):
    class Half(Toy):
        """The perceptron with its first layer out of sight."""

        def __init__(self, whole):
            super().__init__()
            self.hidden, self.second = [whole.first], whole.second

        def forward(self, positions):
            log_abs_psi = self.second(self.hidden[0](positions.flatten(1)).tanh())[:, 0]
            return torch.ones_like(log_abs_psi), log_abs_psi

    whole, half = frozen(perceptron(), "first"), Half(perceptron())
    one, other = make(whole), make(half)
    for batch in batches(3, size):
        one.update(*batch)
        other.update(*batch)
    assert torch.equal(whole.second.weight, half.second.weight)
    assert torch.equal(whole.second.bias, half.second.bias)


def test_a_wavefunction_with_nothing_to_train_is_refused(make, perceptron):
    with pytest.raises(ValueError, match="ansatz: no parameter is left to train"):
        make(perceptron().requires_grad_(False))


def test_a_bare_network_is_refused_by_name(make):
    with pytest.raises(ValueError, match=r"FermiNet says nothing of scores: wrap it, as NaturalStates\(ansatz\)"):
        make(FermiNet(Molecule.atom("He"), hidden_one=4, hidden_two=2, n_determinants=1))


def test_a_complex_parameter_is_refused(make, perceptron):
    ansatz = perceptron()
    ansatz.phase = nn.Parameter(torch.ones(2, dtype=torch.complex128))
    with pytest.raises(ValueError, match=r"parameters \['phase'\] must be real"):
        make(ansatz)


def test_a_state_of_other_parameters_is_refused(make, perceptron, batches):
    ((positions, energies),) = batches(1, 30)
    optimizer = make(perceptron())
    optimizer.update(positions, energies)
    other = make(frozen(perceptron(), "first"))
    with pytest.raises(ValueError, match="freeze the same parameters"):
        other.load_state_dict(optimizer.state_dict())
        other.update(positions, energies)


@pytest.mark.parametrize("optimizer", [Spring, Kfac])
def test_parameters_frozen_after_the_optimizer_was_made_are_refused(optimizer, perceptron, batches):
    ansatz = perceptron()
    made = optimizer(ansatz)
    first, second = batches(2, 30)
    made.update(*first)
    frozen(ansatz, "first")
    with pytest.raises(ValueError, match="freeze"):
        made.update(*second)


class Steep(Toy):
    """log|psi| and its scores are infinite where a coordinate is zero."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = nn.Linear(6, 3).double(), nn.Linear(3, 1).double()

    def forward(self, positions):
        log_abs_psi = self.second(self.first(positions.flatten(1).reciprocal()).sin())[:, 0]
        return torch.ones_like(log_abs_psi), log_abs_psi


def no_energy(positions, energies):
    return positions, torch.full_like(energies, math.nan)


def no_walker(positions, energies):
    return torch.full_like(positions, math.nan), torch.full_like(energies, -math.inf)


def no_score(positions, energies):
    return torch.zeros_like(positions), energies


LOST = [no_energy, no_walker, no_score]


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("at", [0, 2])
def test_an_update_without_numbers_changes_nothing_and_says_so(at, lost, make, batches):
    """The updates after it are those of a run that never met it."""
    ansatz, other = Steep(), Steep()
    optimizer, reference = make(ansatz), make(other)
    for step, batch in enumerate(batches(5, 12)):
        if step == at:
            before = values(ansatz)
            stats = optimizer.update(*lost(*batch))
            assert stats["skipped"]
            assert all(math.isfinite(float(value)) for value in stats.values())
            assert all(torch.equal(value, before[name]) for name, value in values(ansatz).items())
        stats = optimizer.update(*batch)
        reference.update(*batch)
        assert not stats["skipped"]
        assert stats["grad_norm"] > 0
    after = values(other)
    assert all(torch.equal(value, after[name]) for name, value in values(ansatz).items())


METHODS = [torch.optim.Adam, torch.optim.AdamW, torch.optim.RAdam, torch.optim.Adagrad, torch.optim.RMSprop]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", [0, 2])
def test_a_step_taken_back_on_the_device_leaves_no_trace(at, method, linear_model):
    """The way of a GPU, where nobody asks whether the step counts."""
    yes, no = torch.tensor(True), torch.tensor(False)
    models = linear_model(5, True), linear_model(5, True)
    optimizer, reference = (method(model.parameters(), lr=0.1) for model in models)
    for step in range(5):
        for parameter, twin in zip(*(model.parameters() for model in models), strict=True):
            parameter.grad = torch.full_like(parameter, 0.3 + step)
            twin.grad = parameter.grad.clone()
        if step == at:
            grads = [parameter.grad.clone() for parameter in models[0].parameters()]
            for parameter in models[0].parameters():
                parameter.grad.fill_(math.nan)
            step_without_waiting(optimizer, no)
            for parameter, gradient in zip(models[0].parameters(), grads, strict=True):
                parameter.grad = gradient
        step_without_waiting(optimizer, yes)
        reference.step()
    for one, other in zip(*(values(model).values() for model in models), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-14, atol=0)


def test_a_first_order_optimizer_reads_what_was_saved_before_and_elsewhere(perceptron, batches, through_a_file):
    """Steps that a GPU counted are continued on a CPU."""
    first, second = batches(2, 30)
    one, other = perceptron(), perceptron()
    optimizer, resumed = FirstOrder(one), FirstOrder(other)
    optimizer.update(*first)
    other.load_state_dict(one.state_dict())
    state = through_a_file(optimizer.state_dict())
    groups = [group | {"capturable": True} for group in state["param_groups"]]
    resumed.load_state_dict(state | {"param_groups": groups})
    optimizer.update(*second)
    resumed.update(*second)
    assert all(torch.equal(value, values(other)[name]) for name, value in values(one).items())
