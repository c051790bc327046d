"""Networks that start as another one are the same wavefunction, to the rounding of float64."""

import inspect

import members
import pytest
import torch

from qmcnet import FermiNet, Molecule, Psiformer, SlaterJastrow
from qmcnet.ansatz.growth import grown

DOUBLE = torch.float64
LITHIUM_HYDRIDE = Molecule.diatomic("Li", "H", 3.0, "bohr")
BORON = Molecule.atom("B")
ROUNDING = 1e-10
"""Of log psi, whose determinants are sums of hundreds of products: a hundred times what is found."""


def trained(network):
    """Parameters somewhere else than at the start, where some are equal or zero."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=DOUBLE)
    return network


def small(kind, molecule, changes=None, **head):
    options = {"layer_norm": False} if "layer_norm" in inspect.signature(kind).parameters else {}
    sizes = {**members.tiny(kind), **options, "n_determinants": 2, "jastrow": "cusp", **head, **(changes or {})}
    return kind(molecule, **sizes, dtype=DOUBLE)


def start(network, other, moved=False):
    settings, state = other.settings, other.state_dict()
    return grown(network, settings, state, moved, torch.Generator().manual_seed(5))


def started(network, other, moved=False):
    network.load_state_dict(start(network, other, moved))
    return network


def points(molecule):
    positions = torch.randn(20, molecule.n_electrons, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(6))
    return 1.5 * positions


def assert_same_wavefunction(network, other):
    positions = points(network.molecule)
    (sign, log), (other_sign, other_log) = (one(positions, one.molecule.nuclei) for one in (network, other))
    ratio = log - other_log  # (B, S)
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio), rtol=0, atol=ROUNDING)
    torch.testing.assert_close(sign, other_sign, rtol=0, atol=ROUNDING)


GROWTHS = [
    {"n_determinants": 3},
    {"n_determinants": 7},
    {"n_layers": 5},
    {"jastrow": "neural"},
    {"n_determinants": 4, "n_layers": 4, "jastrow": "neural", "envelope": "sto"},
]
KINDS = [
    {},
    {"full_determinants": False, "envelope": "bottleneck"},
    {"complex": True, "n_states": 2, "envelope": "full"},
    {"complex": True, "full_determinants": False, "n_states": 2, "envelope": "diagonal"},
]


@pytest.mark.parametrize("growth", GROWTHS, ids=str)
@pytest.mark.parametrize("ansatz", members.networks())
def test_a_larger_network_starts_as_the_smaller_one(ansatz, growth):
    other = trained(small(ansatz, LITHIUM_HYDRIDE))
    network = small(ansatz, LITHIUM_HYDRIDE, growth, seed=1)
    assert network.settings != other.settings
    assert_same_wavefunction(started(network, other), other)


@pytest.mark.parametrize("molecule", [BORON, Molecule.atom("H"), Molecule.atom("He", spin=2)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_determinants_of_every_kind_are_split(kind, molecule):
    other = trained(small(FermiNet, molecule, **kind))
    network = small(FermiNet, molecule, {"n_determinants": 5}, **kind)
    assert_same_wavefunction(started(network, other), other)


@pytest.mark.parametrize(
    "growth",
    [
        {"hidden_one": 9},
        {"hidden_two": 8},
        {"n_determinants": 3, "n_layers": 4, "hidden_one": 12, "hidden_two": 6, "jastrow": "neural"},
    ],
    ids=str,
)
@pytest.mark.parametrize("molecule", [BORON, LITHIUM_HYDRIDE, Molecule.atom("H")], ids=lambda one: one.formula)
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_a_wider_network_starts_as_the_narrower_one(molecule, n_layers, growth):
    other = trained(small(FermiNet, molecule, {"n_layers": n_layers}))
    network = started(small(FermiNet, molecule, {"n_layers": n_layers, **growth}), other)
    assert_same_wavefunction(network, other)


def test_a_network_of_one_layer_becomes_deep():
    other = trained(small(FermiNet, BORON, {"n_layers": 1}))
    assert_same_wavefunction(started(small(FermiNet, BORON, {"n_layers": 3}), other), other)


def test_what_is_not_new_is_taken_over_bit_for_bit():
    other = trained(small(FermiNet, BORON))
    found = start(small(FermiNet, BORON, seed=1), other)
    assert all(torch.equal(found[name], value) for name, value in other.state_dict().items())
    assert found.keys() == other.state_dict().keys()


def test_settings_are_compared_as_they_are_stored():
    network = small(FermiNet, BORON)
    network.settings |= {"widths": (1, 2)}
    found = grown(network, {"widths": [1, 2]}, network.state_dict(), False, torch.Generator())
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_the_network_stays_as_it_is_and_the_seed_decides_what_is_new():
    other, network = trained(small(FermiNet, BORON)), small(FermiNet, BORON, {"n_determinants": 4, "n_layers": 4})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again = start(network, other), start(network, other)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(torch.equal(first[name], again[name]) for name in first)


def scores(network):
    """Gradients of log psi at several points, by name."""
    names, parameters = zip(*network.named_parameters(), strict=True)
    log_psi = network(points(network.molecule), network.molecule.nuclei)[1][:, 0]
    gradients = [torch.autograd.grad(one, parameters, retain_graph=True) for one in log_psi]
    return {name: torch.stack(found) for name, found in zip(names, zip(*gradients, strict=True), strict=True)}


@pytest.mark.parametrize("ansatz", members.networks())
def test_what_was_silenced_has_a_gradient(ansatz):
    other = trained(small(ansatz, BORON))
    network = started(small(ansatz, BORON, {"n_layers": 4, "jastrow": "neural"}), other)
    silent = [name for name, value in network.named_parameters() if not value.any()]
    assert {name.split(".")[0] for name in silent} == {"layers", "head"}
    found = scores(network)
    assert all(found[name].any() for name in silent)


def test_what_reads_new_features_has_a_gradient():
    other = trained(small(FermiNet, BORON))
    network = started(small(FermiNet, BORON, {"hidden_one": 9, "hidden_two": 8}), other)
    found, silent = scores(network), {name: value == 0 for name, value in network.named_parameters()}
    for name, count in {
        "head.orbitals.linear.0.weight": 2,
        "layers.1.own.weight": 2 + 2 * 3,
        "layers.1.mean.weight": 4,
    }.items():
        columns = silent[name][:7].all(0)  # what makes the old features
        assert columns.sum() == count
        assert found[name][:, :7, columns].any(0).all()


@pytest.mark.parametrize("full", [True, False])
def test_parts_of_a_determinant_learn_different_things_from_the_first_step(full):
    other = trained(small(FermiNet, BORON, {"n_determinants": 1}, full_determinants=full))
    network = started(small(FermiNet, BORON, {"n_determinants": 2}, full_determinants=full), other)
    first, second = scores(network)["head.orbitals.linear.0.weight"].unflatten(1, (2, -1))[:, :, :-1].unbind(1)
    angle = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
    assert angle.abs() < 0.99  # equal parts would have 1


SLATER = {"basis": "sto-3g", "dtype": DOUBLE}


def test_a_slater_determinant_gets_a_neural_jastrow_factor_and_backflow():
    other = trained(SlaterJastrow(BORON, **SLATER))
    network = SlaterJastrow(BORON, **SLATER, jastrow="neural", backflow=True)
    assert_same_wavefunction(started(network, other), other)


def test_orbitals_of_a_mean_field_are_those_of_the_geometry():
    other = trained(SlaterJastrow(LITHIUM_HYDRIDE, **SLATER))
    network = SlaterJastrow(Molecule.diatomic("Li", "H", 4.0, "bohr"), **SLATER)
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    started(network, other, moved=True)
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    assert torch.equal(network.jastrow.range, other.jastrow.range)
    started(network, other)  # where nothing moves, they may differ in sign, or as degenerate ones do
    assert all(torch.equal(value, dict(other.named_buffers())[name]) for name, value in network.named_buffers())


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({"n_determinants": 4}, {"n_determinants": 2}, "n_determinants is 4 there and 2 here: n_determinants may grow"),
        ({"n_layers": 3}, {"n_layers": 2}, "n_layers is 3 there and 2 here: n_layers may grow"),
        ({}, {"hidden_one": 6}, "hidden_one is 7 there and 6 here: hidden_one may grow, "),
        ({"hidden_one": 4}, {"hidden_one": 6}, "hidden_one is 4 there and 6 here: .* neither from nor to 4 times"),
        ({"hidden_two": 3}, {"hidden_two": 4}, "hidden_two is 3 there and 4 here: .* neither from nor to 4$"),
        ({}, {"n_states": 3}, "n_states is 1 there and 3 here: only "),
        ({}, {"complex": True}, "complex is False there and True here: only "),
        ({}, {"full_determinants": False}, "full_determinants is True there and False here: only "),
        ({"jastrow": "none"}, {"jastrow": "cusp"}, "jastrow is none there and cusp here: jastrow may go from cusp"),
        ({"jastrow": "none"}, {"jastrow": "neural"}, "jastrow is none there and neural here"),
        ({}, {"jastrow": "none"}, "jastrow is cusp there and none here"),
        ({}, {"envelope": "full"}, "envelope is isotropic there and full here: envelope may go from isotropic to sto"),
    ],
)
def test_what_cannot_be_the_same_wavefunction_is_refused(before, after, line):
    with pytest.raises(ValueError, match=rf"^ansatz\.{line}") as refusal:
        start(small(FermiNet, BORON, before | after), small(FermiNet, BORON, before))
    assert "\n" not in str(refusal.value)


def test_layers_that_normalise_are_not_added():
    other, network = (small(Psiformer, BORON, {"n_layers": count, "layer_norm": True}) for count in (2, 3))
    with pytest.raises(ValueError, match=r"^ansatz\.n_layers is 2 there and 3 here: .*layer_norm only if it is false"):
        start(network, other)


def test_coefficients_of_an_active_space_stay_at_their_geometry():
    settings = {**SLATER, "method": "casscf", "active_electrons": 2, "active_orbitals": 2}
    other = SlaterJastrow(Molecule.diatomic("H", "H", 1.4, "bohr"), **settings)
    assert_same_wavefunction(started(other, other), other)
    with pytest.raises(ValueError, match=r"nuclei are elsewhere.*ansatz\.method=casscf"):
        start(other, other, moved=True)


def test_parameters_that_a_network_does_not_have_are_named():
    other = small(FermiNet, BORON)
    state = other.state_dict()
    first = next(iter(state))
    generator = torch.Generator()
    for wrong in ({first: state[first][:1]}, {"more": state[first]}):
        with pytest.raises(ValueError, match=f"differ in {next(iter(wrong))}"):
            grown(other, other.settings, {**state, **wrong}, False, generator)
    del state[first]
    with pytest.raises(ValueError, match=f"differ in {first}"):
        grown(other, other.settings, state, False, generator)
