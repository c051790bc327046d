"""What every wavefunction obeys, whatever its network, envelope, Jastrow factor and determinants."""

import itertools
import re

import members
import pytest
import torch

from qmcnet.ansatz import FermiNet, LapNet, Psiformer, SlaterJastrow
from qmcnet.ansatz.jastrow import JASTROWS
from qmcnet.config.schema import argument_types
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.sampling import initial_positions
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
TRIPLET = Molecule.atom("He", spin=2)
SLOWEST = {"isotropic": 1.0, "diagonal": 1.0, "full": 1.0, "bottleneck": 0.5, "null": 0.0}  # fresh exponents
SLATER = {LIH: 1.0, TRIPLET: 1.7}  # H 1s, He 1s

each_ansatz = pytest.mark.parametrize("ansatz", members.networks())


def assert_same_sign(sign, expected):
    """Signs are equal to the last bit; phases are rounded."""
    assert sign.dtype == expected.dtype
    if sign.is_complex():
        torch.testing.assert_close(sign, expected, rtol=0, atol=1e-11)
        assert (sign.imag.abs() > 1e-3).any()
    else:
        assert torch.equal(sign, expected)


def at(psi, positions):
    """Evaluate a network around the nuclei of its molecule: sign and log_abs_psi, each (..., S)."""
    return psi(positions, psi.molecule.nuclei)


def points(total, walkers, n_walkers):
    """Positions of the copies of all states."""
    return torch.cat([walkers(total.molecule, n_walkers, seed=seed) for seed in range(total.n_states)], 1)


def parity(permutation):
    return (-1) ** sum(a > b for a, b in itertools.combinations(permutation, 2))


def test_swapping_equal_spins_flips_the_sign(kind, small, walkers):
    molecule = kind.molecule
    psi, positions = small(kind.ansatz, molecule, **kind.options), walkers(molecule)
    sign, log_abs = at(psi, positions)
    spins = [range(molecule.n_up), range(molecule.n_up, molecule.n_electrons)]
    for i, j in itertools.chain.from_iterable(itertools.combinations(spin, 2) for spin in spins):
        order = list(range(molecule.n_electrons))
        order[i], order[j] = j, i
        swapped_sign, swapped_log = at(psi, positions[:, order])
        assert_same_sign(swapped_sign, -sign)
        torch.testing.assert_close(swapped_log, log_abs, rtol=1e-12, atol=1e-11)


@each_ansatz
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("complex", [True, False])
def test_permutations_of_equal_spins_give_their_parity(ansatz, full, complex, small, walkers):
    molecule, options = Molecule.atom("N"), {"full_determinants": full, "jastrow": "cusp", "complex": complex}
    psi, positions = small(ansatz, molecule, **options), walkers(molecule, 3)
    sign, log_abs = at(psi, positions)
    generator = torch.Generator().manual_seed(1)
    parities = set()
    for _ in range(20):
        up = torch.randperm(5, generator=generator).tolist()
        down = (5 + torch.randperm(2, generator=generator)).tolist()
        parities.add(expected := parity(up) * parity(down))
        permuted_sign, permuted_log = at(psi, positions[:, up + down])
        assert_same_sign(permuted_sign, expected * sign)
        torch.testing.assert_close(permuted_log, log_abs, rtol=1e-12, atol=1e-11)
    assert parities == {1, -1}


@each_ansatz
@pytest.mark.parametrize("n_states", [1, 3])
@pytest.mark.parametrize("jastrow", sorted(JASTROWS))
def test_positions_may_have_any_leading_axes(ansatz, n_states, jastrow, small, walkers):
    psi, positions = small(ansatz, LIH, n_states=n_states, jastrow=jastrow), walkers(LIH, 6)
    for flat, nested in zip(at(psi, positions), at(psi, positions.unflatten(0, (2, 3))), strict=True):
        torch.testing.assert_close(nested, flat.view(2, 3, n_states), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ansatz", members.kinds("ansatz").values())
@pytest.mark.parametrize("shape", [(5, 3, 3), (5, 5, 3), (5, 4, 2), (3, 5, 1, 3), (12,)])
def test_positions_of_other_electrons_are_refused(ansatz, shape, small, walkers):
    psi = ansatz(LIH, basis="sto-3g", dtype=DOUBLE) if ansatz is SlaterJastrow else small(ansatz, LIH)
    for evaluate in (psi, psi.orbitals) if ansatz is not SlaterJastrow else (psi,):
        with pytest.raises(
            ValueError, match=re.escape(f"positions of shape {shape}: LiH has 4 electrons, so that the")
        ):
            evaluate(torch.zeros(shape, dtype=DOUBLE), LIH.nuclei)


def test_opposite_spins_are_distinguishable(kind, small, walkers):
    psi, positions = small(kind.ansatz, LIH, **kind.options), walkers(LIH)
    assert (at(psi, positions[:, [2, 1, 0, 3]])[1] - at(psi, positions)[1]).abs().min() > 1e-6


def test_electrons_of_equal_spin_exclude_each_other(kind, small, walkers):
    psi, positions = small(kind.ansatz, LIH, **kind.options), walkers(LIH)
    far = at(psi, positions)[1]
    positions[:, 1] = positions[:, 0] + 1e-9
    assert (at(psi, positions)[1] < far - 10).all()
    positions[:, 1] = positions[:, 2] + 1e-9
    assert (at(psi, positions)[1] > far - 10).any()


def test_moving_everything_changes_nothing(kind, small, walkers):
    shift = torch.tensor([0.7, -1.3, 2.1], dtype=DOUBLE)
    moved = Molecule(LIH.symbols, (LIH.nuclei + shift).tolist())
    positions = walkers(LIH)
    sign, log_abs = at(small(kind.ansatz, LIH, **kind.options), positions)
    moved_sign, moved_log = at(small(kind.ansatz, moved, **kind.options), positions + shift)
    there_sign, there_log = small(kind.ansatz, LIH, **kind.options)(positions + shift, LIH.nuclei + shift)
    for other_sign, other_log in ((moved_sign, moved_log), (there_sign, there_log)):
        assert_same_sign(other_sign, sign)
        torch.testing.assert_close(other_log, log_abs, rtol=1e-12, atol=1e-11)
    assert (at(small(kind.ansatz, LIH, **kind.options), positions + shift)[1] - log_abs).abs().min() > 1e-5


@pytest.mark.parametrize("molecule", [LIH, TRIPLET], ids=["LiH", "He triplet"])
def test_the_wavefunction_decays_exponentially(kind, molecule, small, walkers):
    psi = small(kind.ansatz, molecule, **kind.options)
    points = walkers(molecule, 1).repeat(3, 1, 1)
    direction = torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)
    points[:, 0] = torch.tensor([100.0, 200.0, 300.0], dtype=DOUBLE)[:, None] * direction
    log_abs = at(psi, points)[1]
    rate = SLATER[molecule] if kind.envelope == "sto" else SLOWEST[kind.envelope]
    # The Jastrow factor and a saturated network vary slowly far away, one with inputs that grow as log r less slowly.
    near, far = (3, 1) if kind.ansatz is FermiNet else (5, 2)
    assert (log_abs[1] - log_abs[0] + 100 * rate).abs().max() < near
    assert (log_abs[2] - log_abs[1] + 100 * rate).abs().max() < far


def slopes(psi, pair, distance):
    """Return d log|psi| / dr_ij of a pair at a fixed centre, averaged over opposite directions, one a walker."""
    i, j = pair
    generator = torch.Generator().manual_seed(6)
    positions = torch.randn(6, psi.molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)
    direction = torch.nn.functional.normalize(positions[:, i] - positions[:, j], dim=-1)
    centre = (positions[:, i] + positions[:, j]) / 2
    r = torch.full((6, 1), distance, dtype=DOUBLE, requires_grad=True)

    def log_abs(sign):
        moved = list(positions.unbind(1))
        moved[i], moved[j] = centre + sign * r * direction / 2, centre - sign * r * direction / 2
        return at(psi, torch.stack(moved, 1))[1]

    (derivative,) = torch.autograd.grad((log_abs(1) + log_abs(-1)).sum() / 2, r)
    return derivative[:, 0]


@pytest.mark.parametrize("ansatz", [Psiformer, LapNet])  # FermiNet holds |r_ij| and makes cusps of its own
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("jastrow", "opposite", "equal"), [("cusp", 1 / 2, 1 / 4), ("neural", 1 / 2, 1 / 4), ("none", 0, 0)]
)
def test_cusps_where_electrons_meet(ansatz, full, jastrow, opposite, equal, small, randomized):
    """Opposite spins: psi = psi_0 (1 + g.r + c r), and averaging over r and -r leaves the slope c.

    Equal spins: at a fixed centre psi is odd in r without the Jastrow factor, so that psi = (g.r) (1 + c r + O(r^2)) in
    every direction, and c is the slope of log|psi| - log r.
    """
    psi = randomized(small(ansatz, Molecule.atom("Be"), full_determinants=full, jastrow=jastrow), 0.1)
    for pair, own, cusp in (((0, 2), 0, opposite), ((0, 1), 1, equal), ((2, 3), 1, equal)):
        near, next_ = (slopes(psi, pair, distance) - own / distance for distance in (1e-4, 2e-4))
        expected = torch.full((6,), cusp, dtype=DOUBLE)
        torch.testing.assert_close(2 * near - next_, expected, rtol=0, atol=1e-4)  # linear terms in r drop out


def test_single_precision_is_close_to_double(kind, small, walkers):
    double, positions = small(kind.ansatz, LIH, **kind.options), walkers(LIH, 100)
    single = small(kind.ansatz, LIH, dtype=torch.float32, **kind.options)
    single.load_state_dict(double.state_dict())
    sign, log_abs = at(double, positions)
    single_sign, single_log = at(single, positions.float())
    assert single_log.dtype == torch.float32
    error = (single_log.double() - log_abs).abs()
    assert 0 < error.median() < 1e-5
    assert ((single_sign - sign).abs() < 1e-3).float().mean() > 0.98


@each_ansatz
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(
    ("molecule", "n_electrons"),
    [(Molecule.atom("Ne"), 10), (Molecule.atom("Kr"), 36), (Molecule.chain("C", 10, 2.4, "bohr"), 60)],
    ids=["Ne", "Kr", "C10"],
)
def test_fresh_networks_of_default_size_are_finite_in_single_precision(ansatz, full, molecule, n_electrons):
    psi, generator = ansatz(molecule, full_determinants=full).requires_grad_(False), torch.Generator().manual_seed(0)
    positions = initial_positions(molecule, 4, generator, torch.float32, "cpu")
    assert positions.shape == (4, n_electrons, 3)
    sign, log_abs = at(psi, positions)
    assert log_abs.dtype == torch.float32
    assert log_abs.isfinite().all()
    assert sign.abs().tolist() == [[1.0]] * 4
    assert (log_abs - at(psi.double(), positions.double())[1]).abs().median() < 0.05


def test_every_parameter_is_used(kind, small, walkers):
    psi = small(kind.ansatz, LIH, **kind.options).requires_grad_(True)
    at(psi, walkers(LIH))[1].sum().backward()
    for name, parameter in psi.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        # A bias of keys adds the same number to all scores of an electron, which the softmax ignores.
        assert (parameter.grad.abs().max() > 1e-9) is not name.endswith("key.bias"), name


@each_ansatz
def test_seeds_reproduce_and_differ(ansatz, small):
    def weights(seed):
        return torch.cat(
            [p.flatten() for name, p in small(ansatz, LIH, seed=seed).named_parameters() if "norm" not in name]
        )

    assert torch.equal(weights(3), weights(3))
    assert (weights(3) != weights(4)).float().mean() > 0.5


@each_ansatz
def test_the_global_generator_is_left_alone(ansatz, small):
    before = torch.get_rng_state()
    small(ansatz, LIH, jastrow="cusp")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    first = small(ansatz, LIH).state_dict()
    torch.manual_seed(2)
    assert all(torch.equal(value, first[name]) for name, value in small(ansatz, LIH).state_dict().items())


@each_ansatz
@pytest.mark.parametrize("complex", [True, False])
def test_orbitals_are_those_of_the_wavefunction(ansatz, complex, small, walkers):
    psi, positions = small(ansatz, LIH, jastrow="none", complex=complex), walkers(LIH)
    up, down = psi.orbitals(positions, LIH.nuclei)
    sign, log_abs = at(psi, positions)
    assert (up.shape, down.shape) == ((8, 3, 2, 4), (8, 3, 2, 4))
    torch.testing.assert_close(
        torch.cat([up, down], -2).det().sum(-1, keepdim=True), sign * log_abs.exp(), rtol=1e-11, atol=0
    )


def test_weights_alone_are_saved_and_settings_rebuild_the_network(kind, small):
    psi = small(kind.ansatz, LIH, **kind.options)
    assert set(psi.state_dict()) == {name for name, _ in psi.named_parameters()}
    assert set(psi.settings) == set(argument_types(kind.ansatz)[0]) - {"molecule", "dtype"}
    assert psi.settings.items() >= kind.options.items()
    again = kind.ansatz(LIH, **psi.settings, dtype=DOUBLE).state_dict()
    assert again.keys() == psi.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in psi.state_dict().items())


@each_ansatz
def test_impossible_settings_are_refused(ansatz):
    sizes = [name for name, kind in argument_types(ansatz)[0].items() if kind is int and name != "seed"]
    assert len(sizes) >= 5
    for name, value in itertools.product(sizes, (0, -3)):
        with pytest.raises(ValueError, match=f"{name}={value} must be between 1 and 100*"):
            ansatz(LIH, **{name: value})
    with pytest.raises(ValueError, match=r"envelope='slater' must be one of bottleneck, diagonal, full, iso"):
        ansatz(LIH, envelope="slater")
    with pytest.raises(ValueError, match=r"jastrow='slater' must be one of cusp, neural, none"):
        ansatz(LIH, jastrow="slater")


def test_scores_are_autograd_walker_by_walker(kind, small, walkers, randomized):
    psi = NaturalStates(randomized(small(kind.ansatz, LIH, **kind.options), 0.1)).requires_grad_(True)
    positions, rows = points(psi, walkers, 3), []
    for walker in positions:
        sign, log_abs = psi(walker[None])
        for function in (log_abs, sign.log().imag) if sign.is_complex() else (log_abs,):
            gradients = torch.autograd.grad(
                function.sum(), list(psi.parameters()), retain_graph=True, materialize_grads=True
            )
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    torch.testing.assert_close(per_walker_scores(psi, positions, 2), torch.stack(rows), rtol=1e-9, atol=1e-10)


def test_an_update_moves_every_parameter_and_keeps_it_finite(kind, small, walkers):
    psi = NaturalStates(small(kind.ansatz, LIH, **kind.options)).requires_grad_(True)
    before = {name: parameter.detach().clone() for name, parameter in psi.named_parameters()}
    energies = walkers(LIH, 12, seed=1).sum(1)  # (B, 3)
    local_energy = energies[:, :2] if kind.complex else energies.sum(1, keepdim=True)
    stats = kind.optimizer(psi).update(points(psi, walkers, 12), local_energy)
    assert 0 < stats["update_norm"] < 1
    for name, parameter in psi.named_parameters():
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, before[name]) or name.endswith("key.bias"), name
