import inspect
import itertools

import pytest
import torch

from qmcnet.ansatz import SlaterJastrow
from qmcnet.chemistry.casscf import casscf
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.laplacian import forward_laplacian
from qmcnet.optimizers import Kfac, Spring
from qmcnet.optimizers.scores import per_walker_scores
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
CARBON, BERYLLIUM = Molecule.atom("C"), Molecule.atom("Be")
ACTIVE = {"method": "casscf", "active_electrons": 2, "active_orbitals": 4, "ci_threshold": 1e-3}
KINDS = {
    "rohf": {"method": "rohf"},
    "uhf": {"method": "uhf"},
    "casscf": ACTIVE,
    "backflow": {**ACTIVE, "backflow": True},
}
BARE = {"jastrow": "none", "nuclear_cusp": "none"}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_molecule = pytest.mark.parametrize("molecule", [LIH, CARBON], ids=["LiH", "C"])


def at(wavefunction, positions):
    """Evaluate its one state around the nuclei of its molecule."""
    return tuple(part.squeeze(-1) for part in wavefunction(positions, wavefunction.molecule.nuclei))


@pytest.fixture
def psi(randomized):
    """A wavefunction in double precision, with parameters moved away from their start."""

    def build(molecule, kind, moved=0.1, **options):
        space = {"active_electrons": 4} if molecule is CARBON and "active_electrons" in KINDS[kind] else {}
        settings = {"train_orbitals": True, **KINDS[kind], **space, **options}
        wavefunction = SlaterJastrow(molecule, **settings, dtype=DOUBLE)
        return randomized(wavefunction, moved).requires_grad_(False)

    return build


@each_kind
@each_molecule
def test_swapping_equal_spins_flips_the_sign(kind, molecule, psi, walkers):
    wavefunction, positions = psi(molecule, kind), walkers(molecule)
    sign, log_abs = at(wavefunction, positions)
    spins = [range(molecule.n_up), range(molecule.n_up, molecule.n_electrons)]
    for i, j in itertools.chain.from_iterable(itertools.combinations(spin, 2) for spin in spins):
        order = list(range(molecule.n_electrons))
        order[i], order[j] = j, i
        swapped_sign, swapped_log = at(wavefunction, positions[:, order])
        assert torch.equal(swapped_sign, -sign)
        torch.testing.assert_close(swapped_log, log_abs, rtol=1e-11, atol=1e-10)
    other = [molecule.n_electrons - 1, *range(1, molecule.n_electrons - 1), 0]
    assert (at(wavefunction, positions[:, other])[1] - log_abs).abs().min() > 1e-6


@pytest.mark.parametrize("method", ["rohf", "uhf"])
@pytest.mark.parametrize("molecule", [LIH, CARBON, Molecule.atom("He", spin=2)], ids=["LiH", "C", "He triplet"])
def test_a_bare_determinant_is_the_mean_field(method, molecule, psi, walkers):
    positions = walkers(molecule)
    sign, log_abs = at(psi(molecule, method, moved=0, **BARE), positions)
    mean_field = excited_determinants(hartree_fock(molecule, method=method), 1, "ordered", 0)
    up, down = (matrix[:, 0] for matrix in mean_field(positions))
    torch.testing.assert_close(2 * log_abs, mean_field.log_prob(positions), rtol=1e-12, atol=1e-12)
    assert torch.equal(sign, (up.det() * down.det()).sign())


@pytest.mark.parametrize(("molecule", "electrons"), [(LIH, 2), (CARBON, 4)], ids=["LiH", "C"])
def test_an_expansion_is_the_sum_of_its_determinants(molecule, electrons, psi, walkers):
    positions = walkers(molecule)
    wavefunction = psi(molecule, "casscf", **BARE)
    result = casscf(molecule, "cc-pvdz", electrons, 4, 1e-3)
    orbitals = result.basis(positions) @ wavefunction.molecular_orbitals.combination.weight.T
    expected, n_up = 0, molecule.n_up
    for c, up, down in zip(wavefunction.expansion.coefficients, result.up, result.down, strict=True):
        expected = expected + c * orbitals[:, :n_up, up].det() * orbitals[:, n_up:, down].det()
    sign, log_abs = at(wavefunction, positions)
    torch.testing.assert_close(sign * log_abs.exp(), expected, rtol=1e-11, atol=0)
    assert len(result.coefficients) >= 2


def test_a_fresh_expansion_has_the_coefficients_and_orbitals_of_the_active_space(psi):
    wavefunction, result = psi(LIH, "casscf", moved=0), casscf(LIH, "cc-pvdz", 2, 4, 1e-3)
    assert torch.equal(wavefunction.expansion.coefficients, result.coefficients)
    assert torch.equal(wavefunction.molecular_orbitals.combination.weight, result.orbitals.T)


def test_a_coefficient_may_pass_through_zero(psi, walkers):
    wavefunction, positions = psi(LIH, "casscf"), walkers(LIH)
    coefficients = wavefunction.expansion.coefficients

    def log_abs(value):
        coefficients.data[2] = value
        return at(wavefunction, positions)[1]

    slope = (log_abs(1e-5) - log_abs(-1e-5)) / 2e-5
    coefficients.data[2] = 0.0
    scores = per_walker_scores(NaturalStates(wavefunction).requires_grad_(True), positions, 8)
    names = [name for name, parameter in wavefunction.named_parameters() for _ in range(parameter.numel())]
    ours = scores[:, names.index("expansion.coefficients") + 2]
    torch.testing.assert_close(ours, slope.detach(), rtol=1e-5, atol=1e-6)
    assert ours.abs().min() > 1e-6


def test_fresh_backflow_changes_nothing_but_its_gradient_is_not_zero(psi, walkers):
    positions = walkers(LIH)
    plain, shifted = psi(LIH, "rohf", moved=0), psi(LIH, "rohf", moved=0, backflow=True).requires_grad_(True)
    torch.testing.assert_close(at(shifted, positions)[1], at(plain, positions)[1], rtol=1e-13, atol=1e-13)
    at(shifted, positions)[1].sum().backward()
    for parameter in shifted.backflow.parameters():
        assert (parameter.grad.abs() > 1e-4).all()


def test_moving_everything_changes_nothing(psi, walkers):
    shift = torch.tensor([0.7, -1.3, 2.1], dtype=DOUBLE)
    moved = Molecule(LIH.symbols, (LIH.nuclei + shift).tolist())
    positions = walkers(LIH)
    here, there = psi(LIH, "backflow"), psi(moved, "backflow")
    for name, value in here.named_parameters():
        there.get_parameter(name).copy_(value)
    assert len(here.expansion.coefficients) == len(there.expansion.coefficients)
    torch.testing.assert_close(at(there, positions + shift)[1], at(here, positions)[1], rtol=1e-9, atol=1e-9)


def slope(wavefunction, moved, distance):
    """Derivative of log|psi| along a displacement, averaged over opposite directions."""
    r = torch.tensor(distance, dtype=DOUBLE, requires_grad=True)
    total = (at(wavefunction, moved(r))[1] + at(wavefunction, moved(-r))[1]).sum() / 2
    return torch.autograd.grad(total, r)[0].item()


@pytest.mark.parametrize("kind", ["rohf", "casscf", "backflow"])
@pytest.mark.parametrize(("pair", "own", "cusp"), [((0, 2), 0, 1 / 2), ((0, 1), 1, 1 / 4), ((2, 3), 1, 1 / 4)])
@pytest.mark.parametrize("jastrow", ["cusp", "none"])
def test_cusps_where_electrons_meet(kind, pair, own, cusp, jastrow, psi, walkers):
    wavefunction, positions = psi(BERYLLIUM, kind, jastrow=jastrow), walkers(BERYLLIUM, 1, seed=4)
    i, j = pair
    direction = torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)

    def moved(r):
        electrons, centre = list(positions.unbind(1)), (positions[:, i] + positions[:, j]) / 2
        electrons[i], electrons[j] = centre + r * direction / 2, centre - r * direction / 2
        return torch.stack(electrons, 1)

    near, next_ = (slope(wavefunction, moved, distance) - own / distance for distance in (1e-4, 2e-4))
    assert 2 * near - next_ == pytest.approx(cusp if jastrow == "cusp" else 0, abs=2e-4)


@pytest.mark.parametrize("kind", ["rohf", "casscf"])
@pytest.mark.parametrize(("nucleus", "charge"), [(0, 3), (1, 1)])
@pytest.mark.parametrize("nuclear_cusp", ["orbitals", "factor", "none"])
def test_cusps_at_nuclei(kind, nucleus, charge, nuclear_cusp, psi, walkers):
    wavefunction = psi(LIH, kind, nuclear_cusp=nuclear_cusp)
    positions = walkers(LIH, 1, seed=4)
    direction = torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)

    def moved(r):
        electrons = list(positions.unbind(1))
        electrons[1] = (LIH.nuclei[nucleus] + r * direction)[None]
        return torch.stack(electrons, 1)

    near, next_ = (slope(wavefunction, moved, distance) for distance in (1e-5, 2e-5))
    assert 2 * near - next_ == pytest.approx(0 if nuclear_cusp == "none" else -charge, abs=1e-3)


@each_kind
@each_molecule
def test_the_forward_laplacian_is_that_of_both_references(kind, molecule, psi, walkers, second_derivatives):
    wavefunction, positions = psi(molecule, kind), walkers(molecule, 6, seed=7)

    def log_abs(r):
        return at(wavefunction, r)[1]

    result, reference = (differentiate(log_abs, positions) for differentiate in (forward_laplacian, second_derivatives))
    torch.testing.assert_close(result.value, log_abs(positions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.gradient, reference.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result.laplacian, reference.laplacian, rtol=1e-9, atol=1e-9)
    # Differences fail near nodes and nuclei: take the walkers that are farthest from them.
    far = reference.laplacian.abs().argsort()[:2]
    step = 1e-3 * torch.eye(3 * molecule.n_electrons, dtype=DOUBLE).unflatten(1, (-1, 3))
    plus, minus = (log_abs((positions[far][:, None] + h).flatten(0, 1)).unflatten(0, (2, -1)) for h in (step, -step))
    laplacian = (plus + minus - 2 * log_abs(positions[far])[:, None]).sum(-1) / 1e-6
    torch.testing.assert_close(result.laplacian[far], laplacian, rtol=2e-3, atol=1e-2)


@each_kind
def test_scores_are_autograd_walker_by_walker(kind, psi, walkers):
    wavefunction, positions = psi(LIH, kind).requires_grad_(True), walkers(LIH, 3)
    parameters, rows = list(wavefunction.parameters()), []
    for walker in positions:
        gradients = torch.autograd.grad(at(wavefunction, walker[None])[1].sum(), parameters)
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    torch.testing.assert_close(
        per_walker_scores(NaturalStates(wavefunction), positions, 2), torch.stack(rows), rtol=1e-9, atol=1e-10
    )
    assert (torch.stack(rows).abs().amax(0) > 0).float().mean() > 0.9


@pytest.mark.parametrize("optimizer", [Kfac, Spring])
@pytest.mark.parametrize("train_orbitals", [True, False])
def test_an_update_moves_every_parameter_and_nothing_else(optimizer, train_orbitals, psi, walkers):
    wavefunction = psi(LIH, "backflow", train_orbitals=train_orbitals).requires_grad_(True)
    before = {name: value.clone() for name, value in wavefunction.state_dict().items()}
    optimizer(NaturalStates(wavefunction)).update(walkers(LIH, 12), walkers(LIH, 12, seed=1).sum(1)[:, :1])
    learned = {name for name, _ in wavefunction.named_parameters()}
    assert ("molecular_orbitals.combination.weight" in learned) is train_orbitals
    for name, value in wavefunction.state_dict().items():
        assert torch.equal(value, before[name]) is (name not in learned), name
        assert torch.isfinite(value).all(), name


@each_kind
def test_single_precision_is_close_to_double(kind, psi, walkers):
    double, positions = psi(LIH, kind), walkers(LIH, 100)
    single = SlaterJastrow(LIH, **KINDS[kind])
    single.load_state_dict(double.state_dict())
    sign, log_abs = at(double, positions)
    single_sign, single_log = at(single, positions.float())
    assert single_log.dtype == torch.float32
    assert 0 < (single_log.double() - log_abs).abs().median() < 1e-5
    assert (single_sign.double() == sign).float().mean() > 0.98


@each_kind
def test_settings_rebuild_the_wavefunction_and_the_state_restores_its_orbitals(kind, psi, walkers):
    wavefunction, positions = psi(LIH, kind), walkers(LIH)
    assert set(wavefunction.settings) == set(inspect.signature(SlaterJastrow).parameters) - {"molecule", "dtype"}
    again = SlaterJastrow(LIH, **wavefunction.settings, dtype=DOUBLE)
    basis = again.molecular_orbitals.basis
    basis.exponents.mul_(1.1)  # as if PySCF had changed
    again.molecular_orbitals.cusps.weights.mul_(1.1)
    again.molecular_orbitals.combination.weight.data.neg_()
    assert (at(again, positions)[1] - at(wavefunction, positions)[1]).abs().min() > 1e-6
    again.load_state_dict(wavefunction.state_dict())
    assert torch.equal(at(again, positions)[1], at(wavefunction, positions)[1])


@pytest.mark.parametrize(("older", "name"), [(True, "factor"), (False, "none")])
def test_cusps_are_known_by_what_they_were_called_before(older, name, psi, walkers):
    first, second = (psi(LIH, "rohf", nuclear_cusp=choice) for choice in (older, name))
    assert first.settings["nuclear_cusp"] is older  # so that runs with it are continued
    assert torch.equal(at(first, walkers(LIH))[1], at(second, walkers(LIH))[1])


def test_further_batch_axes_work(psi, walkers):
    wavefunction, positions = psi(LIH, "backflow"), walkers(LIH, 6)
    sign, log_abs = at(wavefunction, positions.unflatten(0, (2, 3)))
    torch.testing.assert_close(log_abs.flatten(), at(wavefunction, positions)[1])
    assert torch.equal(sign.flatten(), at(wavefunction, positions)[0])


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    SlaterJastrow(LIH)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rhf"}, r"method='rhf' must be one of rohf, uhf, casscf"),
        ({"nuclear_cusp": "kato"}, r"nuclear_cusp='kato' must be one of orbitals, factor, none"),
        ({"jastrow": "slater"}, r"jastrow='slater' must be one of cusp, neural, none"),
        ({"method": "casscf", "active_electrons": 2}, r"needs active_electrons and active_orbitals, got 2 and None"),
        ({"active_orbitals": 2}, r"active_orbitals belong to method='casscf', not to method='rohf'"),
        ({"basis": "cc-pvnz"}, r"basis='cc-pvnz' .* element Li: try cc-pvdz"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SlaterJastrow(LIH, **options)
