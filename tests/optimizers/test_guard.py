"""Scores of modules as users write them: right, or refused with the name of the parameter."""

import pytest
import torch
import torch.nn.functional as F
from evaluating import Toy
from torch import nn

from qmcnet import Molecule, Spring
from qmcnet.optimizers import Kfac
from qmcnet.optimizers.guard import ScoreGuard, errors_of_scores
from qmcnet.optimizers.scores import is_plain_linear, per_walker_scores

ZOO = {}


def member(kind):
    ZOO[kind.__name__] = kind
    return kind


class Two(Toy):
    """Two linear layers, between which other members do something unusual."""

    def __init__(self, first=nn.Linear, second=nn.Linear):
        super().__init__()
        self.first, self.second = first(3, 3), second(3, 3)

    def value(self, r):
        return self.second(self.first(r).tanh()).sum((-2, -1))

    def forward(self, r):
        value = self.value(r)
        return torch.ones_like(value), value


@member
class InPlace(Two):
    def value(self, r):
        h = self.first(r)
        h *= 2
        return self.second(h.sin()).sum((-2, -1))


@member
class InPlaceThroughAView(Two):
    def value(self, r):
        h = self.first(r)
        h[..., :2].mul_(3)
        h[:, 0] -= 1
        return self.second(h.sin()).sum((-2, -1))


@member
class InPlaceFunction(Two):
    def value(self, r):
        return self.second(self.first(r).tanh_()).sum((-2, -1))


@member
class InPlaceActivation(Two):
    def value(self, r):
        return self.second(F.elu(self.first(r), inplace=True)).sum((-2, -1))


class Gain(nn.Module):
    """Changes its own input."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.3, 1.2, 3))

    def forward(self, x):
        x *= self.gain
        return x.exp()


@member
class InPlaceOnAnInput(Two):
    def __init__(self):
        super().__init__(second=lambda *_: Gain())

    def value(self, r):
        return self.second(self.first(r).sin()).sum((-2, -1))


class Masked(nn.Linear):
    def forward(self, x):
        return F.linear(x, self.weight * torch.eye(3, dtype=x.dtype), self.bias)


class WithGain(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.gain = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return self.gain * super().forward(x)


@member
class Derived(Two):
    def __init__(self):
        super().__init__(Masked, WithGain)


@member
class AnotherForward(Two):
    def __init__(self):
        super().__init__()
        self.first.forward = lambda x: 2 * F.linear(x, self.first.weight, self.first.bias)


@member
class OnlyRead(Two):
    def value(self, r):
        return F.linear(self.first(r).tanh(), self.second.weight, self.second.bias).sum((-2, -1))


@member
class TiedAndOfItsOwn(Two):
    def __init__(self):
        super().__init__()
        self.second.weight, self.factor = self.first.weight, nn.Parameter(torch.tensor(0.6))

    def value(self, r):
        return self.factor * super().value(r)


@member
class Normed(Two):
    def __init__(self):
        super().__init__(second=lambda *sizes: nn.utils.parametrizations.weight_norm(nn.Linear(*sizes)))


@member
class Hooked(Two):
    def __init__(self):
        super().__init__()
        self.first.register_forward_pre_hook(lambda _, inputs: (2 * inputs[0],))
        self.second.register_forward_hook(lambda _, inputs, output: output.sin())


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 9).view(3, 3))

    def forward(self, x, *, other, power=1):
        return x @ self.weight + (other @ self.weight.mT) ** power


@member
class ByName(Two):
    def __init__(self):
        super().__init__(first=lambda *_: Mixed())

    def value(self, r):
        return self.second(input=self.first(r, other=r.square(), power=2)).tanh().sum((-2, -1))


class Centres(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, 3))

    def forward(self, x, centres):
        return ((x[..., None, :] - centres) * self.scale).square().sum(-2)


@member
class ConstantArgument(Two):
    """Gives a module positions of nuclei, as many as there are walkers in the last chunk."""

    def __init__(self):
        super().__init__(first=lambda *_: Centres())
        self.register_buffer("centres", torch.linspace(-1, 1, 9).view(3, 3))

    def value(self, r):
        return self.second(self.first(r, self.centres).sin()).sum((-2, -1))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 3))

    def forward(self, x):
        return x * self.weight, {"sin": x.sin() * self.weight}


@member
class SeveralOutputs(Two):
    def __init__(self):
        super().__init__(first=lambda *_: Pair())

    def value(self, r):
        plain, others = self.first(r)
        return self.second(plain * others["sin"]).sum((-2, -1))


@member
class Attention(Two):
    def __init__(self):
        super().__init__(first=lambda *_: nn.MultiheadAttention(3, 1, batch_first=True))

    def value(self, r):
        return self.second(self.first(r, r, r, need_weights=False)[0]).tanh().sum((-2, -1))


@member
class Unused(Two):
    """Calls one layer for nothing and another without derivatives."""

    def __init__(self):
        super().__init__()
        self.idle, self.fixed = nn.Linear(3, 2), nn.Linear(3, 3)

    def value(self, r):
        self.idle(r)
        with torch.no_grad():
            shift = self.fixed(r)
        return super().value(r + shift)


@member
class WalkersInside(Two):
    """Puts electrons in front of the walkers, or puts both together."""

    def value(self, r):
        return self.second(self.first(r.flatten(0, 1)).view(r.shape).mT.mT.transpose(0, 1).sin()).sum((0, 2))


@pytest.fixture(params=ZOO)
def ansatz(request):
    torch.manual_seed(3)
    return ZOO[request.param]().double()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_scores_are_autograd_walker_by_walker(ansatz, walkers):
    positions, parameters = walkers(8, 2), list(ansatz.parameters())
    rows = []
    for walker in positions:
        value = ansatz(walker[None])[1].sum()
        gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    scores = per_walker_scores(ansatz, positions, chunk_size=5)  # and a last chunk of three
    torch.testing.assert_close(scores, torch.stack(rows), rtol=1e-10, atol=1e-12)
    ScoreGuard(ansatz, 5)(positions)


class ReadBesides(Two):
    def value(self, r):
        return F.linear(self.first(r).tanh(), self.first.weight).sum((-2, -1)) + super().value(r)


class Dropout(Two):
    def value(self, r):
        return self.second(F.dropout(self.first(r), 0.5)).sin().sum((-2, -1))


class OverWalkers(Two):
    """Subtracts the mean of the walkers in a module that owns a parameter."""

    def __init__(self):
        super().__init__(second=lambda *_: Shared())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.8))

    def forward(self, x):
        return (self.scale * x - x.mean(0)).square()


REFUSED = {
    ReadBesides: r"parameters \['first\.weight'\] differ from autograd",
    Dropout: r"parameters \['first\.weight', .*\] differ from autograd",
    OverWalkers: r"parameters \['first\.weight', .*\] differ from autograd",
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", [Spring, Kfac])
@pytest.mark.parametrize("kind", REFUSED)
def test_wrong_scores_are_refused_by_name_before_anything_is_changed(kind, optimizer, dtype, walkers, vector):
    torch.manual_seed(3)
    ansatz = kind().to(dtype)
    before = vector(ansatz)
    with pytest.raises(ValueError, match=REFUSED[kind]):
        optimizer(ansatz).update(walkers(20, 2).to(dtype), walkers(20, 1).sum(2))
    assert torch.equal(vector(ansatz), before)


def test_what_cannot_be_repeated_for_a_single_walker_is_refused(walkers):
    torch.manual_seed(3)
    ansatz = Two(first=lambda *_: nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.BatchNorm1d(3))).double()
    ansatz.value = lambda r: ansatz.second(ansatz.first(r)).sum(-1)
    with pytest.raises(ValueError, match=r"ansatz: the scores of its walkers cannot be formed: .*in-place"):
        ScoreGuard(ansatz, 100)(walkers(20, 2))


def test_the_guard_compares_until_it_has_numbers_and_then_no_more(walkers):
    torch.manual_seed(3)
    ansatz, positions = Two().double(), walkers(20, 2)
    guard, calls = ScoreGuard(ansatz, 100), []
    ansatz.register_forward_pre_hook(lambda *_: calls.append(1))
    guard(torch.full_like(positions, torch.nan))
    assert not guard.passed
    guard(positions)
    assert guard.passed
    count = len(calls)
    guard(positions)
    assert len(calls) == count > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_stays_far_below_what_the_guard_allows(dtype, network, walkers):
    ansatz = network(Molecule.atom("Be"), jastrow="cusp").to(dtype)
    error, limit = errors_of_scores(ansatz, walkers(13, 4).to(dtype), 100)
    assert (error < 0.01 * limit).all()
    assert (limit > 0).all()


def test_plain_linear_layers_are_known_by_their_exact_class():
    hooked, patched = nn.Linear(2, 2), nn.Linear(2, 2)
    hooked.register_forward_hook(lambda *_: None)
    patched.forward = patched.forward
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    kinds = [nn.Linear(2, 2), hooked, patched, normed, Masked(3, 3), nn.Identity()]
    assert [is_plain_linear(module) for module in kinds] == [True, *[False] * 5]
