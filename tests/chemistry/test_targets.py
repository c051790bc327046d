import pytest
import torch
from pyscf import tdscf

from qmcnet.chemistry.cis import cis_roots
from qmcnet.chemistry.determinants import Determinants
from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import EXCITATIONS, excited_determinants, mean_field_targets, with_exchanged_spins
from qmcnet.chemistry.valence import valence_space
from qmcnet.system.molecule import Molecule

BERYLLIUM, LITHIUM, HELIUM = Molecule.atom("Be"), Molecule.atom("Li"), Molecule.atom("He")
NITROGEN = Molecule.diatomic("N", "N", 2.068, "bohr")


def orbitals(molecule, n_states, kind="ordered", seed=0, basis="cc-pvdz", method="rohf"):
    return excited_determinants(hartree_fock(molecule, basis, method), n_states, kind, seed)


def occupations(*arguments, **options):
    """The determinant of each state."""
    return tuple(determinant for (determinant,) in orbitals(*arguments, **options).determinants)


def positions(*shape, seed=0):
    return torch.randn(*shape, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def log_abs_det(matrix):
    return torch.linalg.slogdet(matrix).logabsdet


@pytest.mark.parametrize("method", ["rohf", "uhf"])
@pytest.mark.parametrize("molecule", [BERYLLIUM, LITHIUM, Molecule.atom("H")], ids=["Be", "Li", "H"])
def test_the_first_state_is_hartree_fock(molecule, method):
    mean_field, walkers = hartree_fock(molecule, "cc-pvdz", method), positions(5, molecule.n_electrons)
    basis, up, down = mean_field.orbitals
    expected = basis(walkers[:, : molecule.n_up]) @ up, basis(walkers[:, molecule.n_up :]) @ down
    for n_states in (1, 3):
        states = excited_determinants(mean_field, n_states, "ordered", 0)
        for ours, reference in zip(states(walkers), expected, strict=True):
            assert ours.shape[1] == n_states
            torch.testing.assert_close(ours[:, 0], reference, rtol=1e-12, atol=1e-14)
    single = excited_determinants(mean_field, 1, "ordered", 0)
    density = sum(2 * log_abs_det(matrix) for matrix in expected)
    torch.testing.assert_close(single.log_prob(walkers), density, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["rohf", "uhf"])
@pytest.mark.parametrize("kind", EXCITATIONS)
@pytest.mark.parametrize("molecule", [LITHIUM, NITROGEN], ids=["Li", "N2"])
def test_each_state_has_the_orbitals_of_its_determinant(molecule, kind, method):
    mean_field, walkers = hartree_fock(molecule, "cc-pvdz", method), positions(4, molecule.n_electrons)
    states = excited_determinants(mean_field, 6, kind, 0)
    solution = mean_field.solution
    coefficients = [torch.tensor(c) for c in (solution.mo_coeff if method == "uhf" else [solution.mo_coeff] * 2)]
    flat = torch.tensor(solution.mol.eval_gto("GTOval_sph", walkers.reshape(-1, 3).numpy()))
    values = flat.reshape(*walkers.shape[:-1], -1)  # (B, N, n_ao)
    spins = values[:, : molecule.n_up], values[:, molecule.n_up :]
    for spin, matrices in enumerate(states(walkers)):
        for state, (determinant,) in enumerate(states.determinants):
            reference = spins[spin] @ coefficients[spin][:, list(determinant[spin])]
            torch.testing.assert_close(matrices[:, state], reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", EXCITATIONS)
@pytest.mark.parametrize("molecule", [BERYLLIUM, NITROGEN], ids=["Be", "N2"])
def test_states_are_orthonormal_and_keep_the_spins(molecule, kind):
    mean_field = hartree_fock(molecule, "cc-pvdz", "uhf")
    states = excited_determinants(mean_field, 8, kind, 2)
    overlap = torch.tensor(mean_field.solution.mol.intor("int1e_ovlp"))
    up, down = (
        coefficients[:, columns].movedim(1, 0)  # (S, n_ao, n)
        for coefficients, columns in ((states.up, states.columns_up), (states.down, states.columns_down))
    )
    total = torch.ones(8, 8, dtype=torch.float64)
    for c, n in ((up, molecule.n_up), (down, molecule.n_down)):
        assert c.shape[-1] == n
        total = total * torch.linalg.det(c[:, None].mT @ overlap @ c[None])
    torch.testing.assert_close(total, torch.eye(8, dtype=torch.float64), rtol=0, atol=1e-8)


def test_states_are_antisymmetric():
    walkers = positions(3, NITROGEN.n_electrons)
    swapped = walkers[:, [1, 0, *range(2, 14)]]
    states = orbitals(NITROGEN, 5, "random")
    dets, exchanged = (torch.linalg.det(u) * torch.linalg.det(d) for u, d in (states(walkers), states(swapped)))
    torch.testing.assert_close(exchanged, -dets, rtol=1e-9, atol=0)
    assert dets.shape == (3, 5)


def test_positions_may_have_any_leading_axes():
    states, walkers = orbitals(LITHIUM, 4), positions(2, 3, 3)
    for whole, rows in zip(states(walkers), states(walkers.flatten(0, 1)), strict=True):
        torch.testing.assert_close(whole.flatten(0, 1), rows, rtol=1e-12, atol=1e-14)


def test_density_is_that_of_copies_each_in_its_state():
    states, walkers = orbitals(BERYLLIUM, 3, "cis"), positions(5, 3, 4)
    up, down = states(walkers)  # (B, copy, state, 2, 2)
    expected = sum(2 * log_abs_det(up[:, i, i]) + 2 * log_abs_det(down[:, i, i]) for i in range(3))
    torch.testing.assert_close(states.log_prob(walkers.flatten(1, 2)), expected, rtol=1e-12, atol=1e-12)
    exchanged = states.log_prob(walkers.flip(1).flatten(1, 2))
    assert not torch.allclose(exchanged, expected)


def test_occupations_of_atoms_and_a_molecule():
    assert occupations(HELIUM, 3) == (((0,), (0,)), ((1,), (0,)), ((0,), (1,)))
    assert occupations(HELIUM, 3, "cis") == (((0,), (0,)), ((1,), (0,)), ((0,), (1,)))
    to_2p = {((0, p), (0, 1)) for p in (2, 3, 4)} | {((0, 1), (0, p)) for p in (2, 3, 4)}
    for kind in ("ordered", "cis"):
        ground, *excited = occupations(BERYLLIUM, 7, kind)
        assert ground == ((0, 1), (0, 1))
        assert set(excited) == to_2p
    lithium = occupations(LITHIUM, 4, "cis", method="uhf")
    assert set(lithium[1:]) == {((0, p), (0,)) for p in (2, 3, 4)}
    full, pi = tuple(range(7)), [tuple(sorted({*range(7)} - {i} | {a})) for i in (5, 6) for a in (7, 8)]
    assert set(occupations(NITROGEN, 5)[1:]) == {(up, full) for up in pi}


@pytest.mark.parametrize("method", ["rohf", "uhf"])
def test_cis_roots_are_those_of_pyscf(method):
    solution = hartree_fock(BERYLLIUM, "cc-pvdz", method).solution.to_uhf()
    reference = tdscf.uhf.TDA(solution)
    reference.nstates = 6
    reference.kernel()
    assert reference.converged.all()
    weights = [torch.cat([a.square().flatten() for a in root]) for root in cis_roots(solution, 6)]
    expected = [torch.cat([torch.tensor(a).square().flatten() for a in x]) for x, _ in reference.xy]
    # Degenerate roots may be rotated among one another: compare the three triplets and the three singlets as wholes.
    for three in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(sum(weights[three]), sum(expected[three]), rtol=0, atol=1e-4)


def test_roots_that_pyscf_misses():
    # Of N2 the lowest roots of both spins leave the pi orbitals; PySCF's iterations end elsewhere.
    solution = hartree_fock(NITROGEN, "cc-pvdz", "uhf").solution.to_uhf()
    for up, down in cis_roots(solution, 3):
        weight = sum(amplitudes[5:7, 0:2].square().sum() for amplitudes in (up, down))
        assert 0.8 < weight <= 1


def test_random_excitations_follow_the_seed():
    draws = [occupations(BERYLLIUM, 5, "random", seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize(("kind", "n_determinants"), [("ordered", 4), ("random", 4), ("cis", 3)])
def test_too_few_orbitals(kind, n_determinants):
    molecule = Molecule.diatomic("H", "H", 1.4, "bohr")  # two orbitals for one electron of each spin
    assert len(orbitals(molecule, n_determinants, kind, basis="sto-3g").determinants) == n_determinants
    message = f"basis='sto-3g' gives {n_determinants} determinants of excitations='{kind}' for states=9"
    with pytest.raises(ValueError, match=message):
        orbitals(molecule, 9, kind, basis="sto-3g")


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="excitations='casscf' must be one of"):
        orbitals(HELIUM, 2, "casscf")


def test_only_occupied_orbitals_are_kept():
    states = orbitals(NITROGEN, 3)
    assert isinstance(states, Determinants)
    n_orbitals = len({p for ((up, _),) in states.determinants for p in up})
    assert states.up.shape == (28, n_orbitals)
    assert states.down.shape == (28, 7)
    assert states.float()(positions(2, 14).float())[0].dtype == torch.float32


@pytest.mark.parametrize(
    "molecule", [Molecule.diatomic("H", "H", 6.0, "bohr"), Molecule.diatomic("Li", "H", 8, "bohr")]
)
def test_a_broken_symmetry_of_the_spins_is_restored(molecule):
    n_up, mean_field = molecule.n_up, hartree_fock(molecule, "sto-3g", "uhf")
    walkers = positions(6, molecule.n_electrons) + molecule.nuclei.mean(0)
    exchanged = torch.cat([walkers[:, n_up:], walkers[:, :n_up]], 1)
    broken, both = excited_determinants(mean_field, 1, "ordered", 0), with_exchanged_spins(mean_field)
    assert (broken.log_prob(walkers) - broken.log_prob(exchanged)).abs().min() > 1e-3
    torch.testing.assert_close(both.log_prob(walkers), both.log_prob(exchanged), rtol=1e-12, atol=1e-12)
    signed = (
        [matrix.det().squeeze(1) for matrix in broken(walkers)],
        [matrix.det()[:, 0] for matrix in broken(exchanged)],
    )
    total = sum(up * down for up, down in signed)
    torch.testing.assert_close(both.log_prob(walkers), 2 * total.abs().log(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("molecule", "method", "n_states", "n_determinants", "expected"),
    [
        (Molecule.diatomic("N", "N", 4.0, "bohr"), "auto", 1, 4, 2),
        (Molecule.diatomic("N", "N", 4.0, "bohr"), "auto", 1, 3, 1),  # no equal shares
        (Molecule.diatomic("H", "H", 6.0, "bohr"), "auto", 2, 4, 1),
        (Molecule.diatomic("H", "H", 6.0, "bohr"), "uhf", 1, 4, 1),  # as was asked for
        (Molecule.diatomic("H", "H", 6.0, "bohr"), "rohf", 1, 4, 1),
        (Molecule.diatomic("H", "H", 6.0, "bohr", spin=2), "auto", 1, 4, 1),
    ],
)
def test_spins_are_exchanged_where_it_helps(molecule, method, n_states, n_determinants, expected):
    targets = mean_field_targets(molecule, "6-31g", method, n_states, "ordered", 0, n_determinants)
    assert [len(state) for state in targets.determinants] == [expected] * n_states


@pytest.mark.parametrize(
    ("molecule", "n_determinants", "expected"),
    [
        (BERYLLIUM, 4, 4),  # 2s^2 and the three 2p^2
        (Molecule.atom("B"), 4, 3),
        (Molecule.diatomic("Li", "H", 8.0, "bohr"), 4, 2),
        (BERYLLIUM, 1, 1),  # one cannot be better than Hartree-Fock
        (Molecule.atom("N"), 4, 1),  # of the right spin there is no other
        (Molecule.diatomic("N", "N", 4.0, "bohr"), 4, 2),  # four of twenty that matter lie above UHF
        (Molecule.atom("K"), 2, 1),
    ],
    ids=["Be", "B", "LiH far", "Be, 1", "N", "N2 far", "K"],
)
def test_leading_determinants_of_the_valence_are_taken_where_they_lie_below_hartree_fock(
    molecule, n_determinants, expected
):
    targets = mean_field_targets(molecule, "6-31g", "auto", 1, "ordered", 0, n_determinants)
    assert len(set(targets.determinants[0])) == expected


@pytest.mark.parametrize(
    ("molecule", "space"),
    [
        (BERYLLIUM, (2, 4)),
        (Molecule.diatomic("Li", "H", 3.0, "bohr"), (2, 5)),
        (NITROGEN, (10, 8)),
        (Molecule.atom("Si"), (4, 4)),
        (Molecule.atom("Ne"), None),  # full
        (HELIUM, None),
        (Molecule.atom("Li", charge=2), None),  # no valence electron
        (Molecule.atom("Sc"), None),
    ],
)
def test_the_valence_is_that_of_the_row(molecule, space):
    assert valence_space(molecule) == space
