import itertools
import math

import pytest
import torch

from qmcnet.ansatz import FermiNet
from qmcnet.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
N2 = Molecule.diatomic("N", "N", 2.068, "bohr")
BORON = Molecule.atom("B")
TRIPLET = Molecule.atom("He", spin=2)
CH4 = Molecule.from_atoms(
    [["C", 0, 0, 0], ["H", 1, 1, 1], ["H", 1, -1, -1], ["H", -1, 1, -1], ["H", -1, -1, 1]], "bohr"
)

each_kind = pytest.mark.parametrize(
    "options",
    [
        {"full_determinants": full, "envelope": envelope, "cusp": cusp}
        for full in (True, False)
        for envelope in ("isotropic", "diagonal")
        for cusp in (True, False)
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)


def small(molecule, dtype=DOUBLE, **options):
    sizes = {"n_layers": 3, "hidden_one": 12, "hidden_two": 5, "n_determinants": 3, "seed": 2}
    return FermiNet(molecule, **{**sizes, **options}, dtype=dtype).requires_grad_(False)


def walkers(molecule, n_walkers=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)


def parity(permutation):
    return (-1) ** sum(a > b for a, b in itertools.combinations(permutation, 2))


@each_kind
@pytest.mark.parametrize("molecule", [LIH, BORON, TRIPLET], ids=["LiH", "B", "He triplet"])
def test_swapping_equal_spins_flips_the_sign(molecule, options):
    psi, positions = small(molecule, **options), walkers(molecule)
    sign, log_abs = psi(positions)
    spins = [range(molecule.n_up), range(molecule.n_up, molecule.n_electrons)]
    for i, j in itertools.chain.from_iterable(itertools.combinations(spin, 2) for spin in spins):
        order = list(range(molecule.n_electrons))
        order[i], order[j] = j, i
        swapped_sign, swapped_log = psi(positions[:, order])
        assert torch.equal(swapped_sign, -sign)
        torch.testing.assert_close(swapped_log, log_abs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("full", [True, False])
def test_permutations_of_equal_spins_give_their_parity(full):
    molecule = Molecule.atom("N")
    psi, positions = small(molecule, full_determinants=full, cusp=True), walkers(molecule, 3)
    sign, log_abs = psi(positions)
    generator = torch.Generator().manual_seed(1)
    parities = set()
    for _ in range(20):
        up = torch.randperm(5, generator=generator).tolist()
        down = (5 + torch.randperm(2, generator=generator)).tolist()
        parities.add(expected := parity(up) * parity(down))
        permuted_sign, permuted_log = psi(positions[:, up + down])
        assert torch.equal(permuted_sign, expected * sign)
        torch.testing.assert_close(permuted_log, log_abs, rtol=1e-12, atol=1e-12)
    assert parities == {1, -1}


@each_kind
def test_opposite_spins_are_distinguishable(options):
    psi, positions = small(LIH, **options), walkers(LIH)
    assert (psi(positions[:, [2, 1, 0, 3]])[1] - psi(positions)[1]).abs().min() > 1e-6


@each_kind
def test_electrons_of_equal_spin_exclude_each_other(options):
    psi, positions = small(LIH, **options), walkers(LIH)
    far = psi(positions)[1]
    positions[:, 1] = positions[:, 0] + 1e-9
    assert (psi(positions)[1] < far - 10).all()
    positions[:, 1] = positions[:, 2] + 1e-9
    assert (psi(positions)[1] > far - 10).any()


@pytest.mark.parametrize(
    ("molecule", "parameters"), [(N2, 766_944), (LIH, 683_744), (CH4, 744_800)], ids=["N2", "LiH", "CH4"]
)
def test_the_default_network_is_that_of_the_paper(molecule, parameters):
    """Counts of the published implementation with 16 full determinants and isotropic envelopes."""
    assert sum(parameter.numel() for parameter in FermiNet(molecule).parameters()) == parameters


def concatenated(network, positions):
    """Evaluate psi as the paper writes it: concatenated features, one electron and one determinant at a time."""
    molecule, nuclei, n = network.molecule, network.nuclei, positions.shape[1]
    spins = [s for s in (range(molecule.n_up), range(molecule.n_up, n)) if len(s)]

    def with_length(vector):
        return torch.cat([vector, vector.square().sum().sqrt()[None]])

    values = []
    for r in positions:
        one = [torch.cat([with_length(r[i] - nucleus) for nucleus in nuclei]) for i in range(n)]
        two = [[with_length(r[i] - r[j]) for j in range(n)] for i in range(n)]
        for layer in network.layers:
            split = len(one[0])
            own, pair_mean = layer.own.weight[:, :split], layer.own.weight[:, split:]
            weight = torch.cat([own, layer.mean.weight, pair_mean], 1)
            means = [torch.stack([one[i] for i in spin]).mean(0) for spin in spins]
            new = []
            for i in range(n):
                pair_means = [torch.stack([two[i][j] for j in spin]).mean(0) for spin in spins]
                new.append(torch.tanh(weight @ torch.cat([one[i], *means, *pair_means]) + layer.own.bias))
            if new[0].shape == one[0].shape:
                new = [(a + b) / math.sqrt(2) for a, b in zip(new, one, strict=True)]
            one = new
            if layer.pair is not None:
                updates = [[torch.tanh(layer.pair(two[i][j])) for j in range(n)] for i in range(n)]
                same = updates[0][0].shape == two[0][0].shape
                two = [
                    [(b + a) / math.sqrt(2) if same else b for a, b in zip(*x, strict=True)]
                    for x in zip(two, updates, strict=True)
                ]
        head, total = network.orbital_head, 0
        for k in range(head.n_determinants):
            blocks = []
            for spin, linear, envelope in zip(spins, head.linear, head.envelope, strict=True):
                size = linear.out_features // head.n_determinants
                columns = slice(k * size, (k + 1) * size)
                decay = [
                    sum(
                        envelope.weight[a, columns]
                        * torch.exp(-envelope.exponent[a, columns] * (r[i] - nucleus).norm())
                        for a, nucleus in enumerate(nuclei)
                    )
                    for i in spin
                ]
                blocks.append(
                    torch.stack([linear.weight[columns] @ one[i] * d for i, d in zip(spin, decay, strict=True)])
                )
            square = blocks[0].shape[0] == blocks[0].shape[1]
            total = total + (math.prod(b.det() for b in blocks) if square else torch.cat(blocks).det())
        values.append(total)
    return torch.stack(values)


@pytest.mark.parametrize("molecule", [LIH, BORON, TRIPLET, Molecule.atom("H")], ids=["LiH", "B", "He triplet", "H"])
@pytest.mark.parametrize("full", [True, False])
def test_the_factored_form_equals_the_concatenated_one(molecule, full):
    psi, positions = small(molecule, full_determinants=full), walkers(molecule, 3)
    generator = torch.Generator().manual_seed(5)
    for envelope in psi.orbital_head.envelope:
        for parameter in envelope.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=DOUBLE, generator=generator))
    sign, log_abs = psi(positions)
    torch.testing.assert_close(sign * log_abs.exp(), concatenated(psi, positions), rtol=1e-11, atol=0)


@each_kind
def test_single_precision_is_close_to_double(options):
    double, positions = small(LIH, **options), walkers(LIH, 100)
    single = small(LIH, dtype=torch.float32, **options)
    single.load_state_dict(double.state_dict())
    sign, log_abs = double(positions)
    single_sign, single_log = single(positions.float())
    assert single_log.dtype == torch.float32
    error = (single_log.double() - log_abs).abs()
    assert 0 < error.median() < 1e-5
    assert (single_sign.double() == sign).float().mean() > 0.98


def test_seeds_reproduce_and_differ():
    def weights(seed):
        return torch.cat([parameter.flatten() for parameter in small(LIH, seed=seed).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert (weights(3) != weights(4)).float().mean() > 0.5


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    small(LIH, cusp=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    first = small(LIH).state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(value, first[name]) for name, value in small(LIH).state_dict().items())


def test_weights_have_the_variance_of_the_concatenated_layer():
    network = FermiNet(LIH, seed=1)
    layer = network.layers[1]
    fan_in = 3 * 256 + 2 * 32
    for module in (layer.own, layer.mean):
        assert module.weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)
    assert layer.pair.weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    assert layer.own.bias.std().item() == pytest.approx(1, rel=0.2)


@each_kind
def test_moving_everything_changes_nothing(options):
    shift = torch.tensor([0.7, -1.3, 2.1], dtype=DOUBLE)
    moved = Molecule(LIH.symbols, (LIH.nuclei + shift).tolist())
    positions = walkers(LIH)
    sign, log_abs = small(LIH, **options)(positions)
    moved_sign, moved_log = small(moved, **options)(positions + shift)
    assert torch.equal(moved_sign, sign)
    torch.testing.assert_close(moved_log, log_abs, rtol=1e-12, atol=1e-12)
    assert (small(LIH, **options)(positions + shift)[1] - log_abs).abs().min() > 1e-3


@each_kind
@pytest.mark.parametrize("molecule", [LIH, TRIPLET], ids=["LiH", "He triplet"])
def test_the_wavefunction_decays_exponentially(molecule, options):
    psi = small(molecule, **options)
    points = walkers(molecule, 1).repeat(3, 1, 1)
    direction = torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)
    points[:, 0] = torch.tensor([100.0, 200.0, 300.0], dtype=DOUBLE)[:, None] * direction
    log_abs = psi(points)[1]
    # Unit exponents at the start; the saturated network and the Jastrow factor vary slowly far away.
    assert (log_abs[1] - log_abs[0]).item() == pytest.approx(-100, abs=3)
    assert (log_abs[2] - log_abs[1]).item() == pytest.approx(-100, abs=1)


def test_orbitals_are_those_of_the_wavefunction():
    psi, positions = small(LIH), walkers(LIH)
    up, down = psi.orbitals(positions)
    sign, log_abs = psi(positions)
    assert (up.shape, down.shape) == ((8, 3, 2, 4), (8, 3, 2, 4))
    torch.testing.assert_close(torch.cat([up, down], -2).det().sum(-1), sign * log_abs.exp(), rtol=1e-11, atol=0)


@each_kind
def test_every_parameter_is_used(options):
    psi = small(LIH, **options).requires_grad_(True)
    psi(walkers(LIH))[1].sum().backward()
    for name, parameter in psi.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_weights_alone_are_saved():
    psi = small(LIH, cusp=True)
    assert set(psi.state_dict()) == {name for name, _ in psi.named_parameters()}


@pytest.mark.parametrize("name", ["n_layers", "hidden_one", "hidden_two", "n_determinants"])
@pytest.mark.parametrize("value", [0, -3])
def test_impossible_sizes_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} must be at least 1"):
        FermiNet(LIH, **{name: value})


def test_unknown_envelopes_are_refused():
    with pytest.raises(ValueError, match=r"envelope='slater' must be one of \['diagonal', 'isotropic'\]"):
        FermiNet(LIH, envelope="slater")
