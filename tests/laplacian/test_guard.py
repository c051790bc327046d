import pytest
import torch

from qmcnet.ansatz import FermiNet, Psiformer
from qmcnet.compute.memory import predicted_peak
from qmcnet.laplacian import ForwardLaplacian, LapTuple, laplacian, rule
from qmcnet.laplacian.laptuple import RULES
from qmcnet.laplacian.pointwise import pointwise
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
SMALL = {"n_layers": 2, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2}


def walkers(count=8, dtype=DOUBLE, seed=0):
    return 2 * torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)


def wrong_rule(monkeypatch, value=1.0, first=1.0):
    """Make the rule of asinh wrong by factors."""
    monkeypatch.setattr("qmcnet.laplacian.laptuple.RULES", dict(RULES))

    @rule(torch.asinh)
    def asinh(x: LapTuple) -> LapTuple:
        inverse = (1 + x.value.square()).rsqrt()
        return pointwise(x, value * torch.asinh(x.value), first * inverse, -x.value * inverse**3)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_another_function_is_refused(what, dtype, offset, monkeypatch):
    wrong_rule(monkeypatch, **{"value": {"value": 1.2}, "gradient": {"first": 1.2}}[what])
    with pytest.raises(
        ValueError, match=rf"{what} of the wavefunction is \S+ away from torch's, and rounding explains"
    ):
        ForwardLaplacian()(lambda x: offset + torch.asinh(x).sum((1, 2)), walkers(dtype=dtype))


def test_the_right_function_is_not(monkeypatch):
    wrong_rule(monkeypatch)
    ForwardLaplacian()(lambda x: torch.asinh(x).sum((1, 2)), walkers())


def test_the_error_says_how_far_apart_the_two_are(monkeypatch):
    wrong_rule(monkeypatch, value=2.0)
    points = walkers(1)
    with pytest.raises(ValueError, match=f"is {torch.asinh(points).sum().abs().item():.3g} away"):
        laplacian(lambda x: torch.asinh(x).sum((1, 2)))(points)


def test_every_value_of_several_is_compared(monkeypatch):
    wrong_rule(monkeypatch, first=0.9)

    def function(x):
        return torch.stack([x.sum((1, 2)), torch.asinh(x).sum((1, 2)), x.square().sum((1, 2))], -1)

    with pytest.raises(ValueError, match="gradient"):
        ForwardLaplacian()(function, walkers())


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("complex_orbitals", [False, True])
@pytest.mark.parametrize("scale", [1, 3, 30])
def test_wild_networks_pass(scale, complex_orbitals, dtype):
    for kind, sizes in ((FermiNet, SMALL), (Psiformer, {"n_layers": 2, "n_heads": 2, "head_size": 8})):
        for seed in range(3):
            wavefunction = kind(LIH, **sizes, seed=seed, complex=complex_orbitals, dtype=dtype)
            with torch.no_grad():
                for parameter in wavefunction.parameters():
                    parameter.mul_(scale)
            ForwardLaplacian()(NaturalStates(wavefunction).log_psi, walkers(dtype=dtype, seed=seed))


def test_large_logarithms_and_near_nodes_pass():
    for dtype in (torch.float32, DOUBLE):
        points = walkers(dtype=dtype)
        points[0, 1] = points[0, 0] + 1e-5  # two electrons of one spin
        wavefunction = NaturalStates(FermiNet(LIH, **SMALL, dtype=dtype))
        ForwardLaplacian()(lambda r, psi=wavefunction: 3e4 + 1e3 * psi(r)[1], points)


def test_several_states_pass():
    for complex_orbitals in (False, True):
        states = FermiNet(LIH, **SMALL, n_states=2, complex=complex_orbitals)
        ForwardLaplacian()(NaturalStates(states).log_psi, walkers(dtype=torch.float32))


def test_a_function_is_compared_once(monkeypatch):
    calls = []
    monkeypatch.setattr("qmcnet.laplacian.backends.compare", lambda *arguments: calls.append(arguments))
    backend, functions = ForwardLaplacian(), [lambda x: x.sum((1, 2)), lambda x: x.square().sum((1, 2))]
    for _ in range(3):
        for function in functions:
            backend(function, walkers())
    assert [call[0] for call in calls] == functions


def test_the_comparison_changes_no_number_and_no_stream():
    wavefunction = NaturalStates(FermiNet(LIH, **SMALL, dtype=DOUBLE)).log_psi
    points, before = walkers(), torch.get_rng_state()
    kept = points.clone()
    backend = ForwardLaplacian()
    first, second = (backend(wavefunction, points) for _ in range(2))
    assert torch.equal(first.laplacian, second.laplacian)
    assert torch.equal(points, kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in wavefunction.ensemble.parameters())


def test_it_works_in_every_mode_of_autograd_and_without_numbers():
    function = NaturalStates(FermiNet(LIH, **SMALL)).log_psi
    for mode in (torch.no_grad, torch.enable_grad, torch.inference_mode):
        with mode():
            ForwardLaplacian()(function, walkers(dtype=torch.float32))
    assert predicted_peak(ForwardLaplacian(4), function, 4, 4) > 0


def test_a_function_that_autograd_cannot_follow_is_compared_by_value(monkeypatch):
    def overwrites(x):
        h = torch.tanh(x)
        h *= 2  # tanh needs its result for a backward pass
        return h.sum((1, 2))

    ForwardLaplacian()(overwrites, walkers())
    wrong_rule(monkeypatch, value=1.1)
    with pytest.raises(ValueError, match="value"):
        ForwardLaplacian()(lambda x: overwrites(x) + torch.asinh(x).sum((1, 2)), walkers())


def test_walkers_that_are_not_finite_are_left_to_others():
    points = walkers()
    points[1, 0] = 0
    result = ForwardLaplacian()(lambda x: torch.log(torch.linalg.vector_norm(x, dim=-1)).sum(1), points)
    assert not result.value[1].isfinite()
