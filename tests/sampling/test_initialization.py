import math
from collections import Counter

import pytest
import torch

from qmcnet.sampling.initialization import arrange, initial_positions
from qmcnet.system.elements import shells
from qmcnet.system.molecule import Molecule

FAR = 60.0


def pair(first, second, charge=0, spin=0):
    """Two atoms so far apart that each electron is near one nucleus only."""
    return Molecule.diatomic(first, second, FAR, "bohr", charge=charge, spin=spin)


def draw(molecule, n_walkers=4, seed=0, dtype=torch.float64):
    return initial_positions(molecule, n_walkers, torch.Generator().manual_seed(seed), dtype, "cpu")


def occupations(molecule, n_walkers=4):
    """For each walker, the numbers of up and down electrons near each nucleus."""
    owners = torch.cdist(draw(molecule, n_walkers), molecule.nuclei).argmin(-1)
    nuclei = range(len(molecule.symbols))
    return [
        tuple((up.count(i), down.count(i)) for i in nuclei)
        for up, down in ((row[: molecule.n_up], row[molecule.n_up :]) for row in owners.tolist())
    ]


@pytest.mark.parametrize(
    ("molecule", "expected"),
    [
        (pair("H", "H"), [((1, 0), (0, 1)), ((0, 1), (1, 0))]),
        (pair("H", "H", spin=2), [((1, 0), (1, 0))]),
        (pair("H", "H", charge=1, spin=1), [((1, 0), (0, 0)), ((0, 0), (1, 0))]),
        (pair("He", "H", charge=1), [((1, 1), (0, 0))]),
        (pair("He", "H", charge=-1), [((1, 1), (1, 1))]),
        (pair("He", "H", spin=3), [((2, 0), (1, 0))]),
        (pair("B", "B", spin=2), [((4, 1), (2, 3)), ((2, 3), (4, 1))]),
        (pair("Li", "H"), [((2, 1), (0, 1)), ((1, 2), (1, 0))]),
        (pair("Li", "H", charge=2), [((1, 1), (0, 0))]),
        (pair("N", "N"), [((5, 2), (2, 5)), ((2, 5), (5, 2))]),
        (pair("O", "O", spin=2), [((5, 3), (4, 4)), ((4, 4), (5, 3))]),
        (pair("O", "O", charge=-1, spin=1), [((4, 5), (5, 3)), ((5, 3), (4, 5))]),
        (pair("N", "O", spin=1), [((5, 2), (3, 5))]),
        (pair("C", "N", charge=-1), [((4, 2), (3, 5)), ((2, 4), (5, 3))]),
        (Molecule.atom("N"), [((5, 2),)]),
        (Molecule.atom("Li", charge=-1), [((2, 2),)]),
        (Molecule.atom("He", spin=2), [((2, 0),)]),
        (Molecule.atom("H"), [((1, 0),)]),
    ],
    ids=lambda value: value.formula if isinstance(value, Molecule) else "",
)
def test_electrons_and_spins_near_each_nucleus(molecule, expected):
    counts = Counter(occupations(molecule))
    assert set(counts) == set(expected)
    assert set(counts.values()) == {4 // len(expected)}


def test_square_of_hydrogen_has_antiparallel_neighbours():
    choices = set(occupations(Molecule.rectangle("H", FAR, FAR, "bohr")))
    up, down = (1, 0), (0, 1)
    assert choices == {(up, down, down, up), (down, up, up, down)}


def test_spins_alternate_along_a_chain():
    up, down = (1, 0), (0, 1)
    choices = set(occupations(Molecule.chain("H", 10, FAR, "bohr")))
    assert choices == {(up, down) * 5, (down, up) * 5}


def test_bonds_of_methane_are_antiparallel():
    corners = [[x, y, x * y] for x in (-FAR, FAR) for y in (-1, 1)]
    molecule = Molecule.from_atoms([["C", 0.0, 0.0, 0.0], *(["H", *corner] for corner in corners)])
    assert set(occupations(molecule)) == {((5, 1), *[(0, 1)] * 4), ((1, 5), *[(1, 0)] * 4)}


@pytest.mark.parametrize("charge", range(-2, 9))
@pytest.mark.parametrize("more_spin", [0, 2, 4])
def test_totals_are_those_of_the_molecule_for_every_charge_and_spin(charge, more_spin):
    n_electrons = 15 - charge
    spin = n_electrons % 2 + more_spin
    molecule = pair("N", "O", charge=charge, spin=spin)
    for choice in occupations(molecule):
        assert sum(up for up, _ in choice) == molecule.n_up
        assert sum(down for _, down in choice) == molecule.n_down
        assert all(min(counts) >= 0 for counts in choice)


def test_chromium_and_iron_fill_the_d_shell_by_hunds_rule():
    def count_by_shell(symbol):
        molecule = Molecule.atom(symbol)
        electrons = arrange(molecule, [0])
        zetas = [shell.zeta for shell in shells(int(molecule.charges))]
        return [
            [[electron[2] for electron in spin].count(zeta) for zeta in zetas]
            for spin in (electrons[: molecule.n_up], electrons[molecule.n_up :])
        ]

    assert count_by_shell("Cr") == [[1, 4, 4, 5, 1], [1, 4, 4, 0, 0]]
    assert count_by_shell("Fe") == [[1, 4, 4, 5, 1], [1, 4, 4, 1, 1]]


def test_a_d_shell_has_ten_places_where_a_potential_stands_for_all_within():
    core = {"n_core": 18, "local": [[1, 10.0, 7.0], [3, 10.0, 70.0]]}
    molecule = Molecule.atom("Mn").with_ecp({"Mn": core})
    numbers = [n for _, n, _ in arrange(molecule, [0])]
    assert (sorted(numbers[: molecule.n_up]), numbers[molecule.n_up :]) == ([3] * 5 + [4], [4])


# The density r^(2n) exp(-2 zeta r) has mean (2n + 1) / (2 zeta) and variance (2n + 1) / (2 zeta)^2.
@pytest.mark.parametrize("symbol", ["H", "Li", "Na"])
def test_radii_have_the_moments_of_their_shells(symbol):
    molecule, n_walkers = Molecule.atom(symbol), 20_000
    radii = draw(molecule, n_walkers).norm(dim=-1)
    for electron, (_, n, zeta) in enumerate(arrange(molecule, [0])):
        mean, variance = (2 * n + 1) / (2 * zeta), (2 * n + 1) / (2 * zeta) ** 2
        assert abs(radii[:, electron].mean() - mean) < 4 * math.sqrt(variance / n_walkers)
        # The excess kurtosis of a Gamma variate of order k is 6 / k.
        error = variance * math.sqrt((2 + 6 / (2 * n + 1)) / n_walkers)
        assert abs(radii[:, electron].var() - variance) < 4 * error


def test_mean_radius_of_hydrogen_is_three_halves():
    radii = draw(Molecule.atom("H"), 20_000).norm(dim=-1)
    assert abs(radii.mean() - 3 / 2) < 4 * math.sqrt(3 / 4 / 20_000)


def test_directions_are_isotropic_and_independent():
    n = 20_000
    positions = draw(Molecule.atom("He"), n)
    directions = positions / positions.norm(dim=-1, keepdim=True)
    first, second = directions.unbind(1)
    assert first.mean(0).abs().max() < 4 * math.sqrt(1 / 3 / n)
    second_moments = first.T @ first / n
    torch.testing.assert_close(second_moments, torch.eye(3).double() / 3, rtol=0, atol=4 * math.sqrt(4 / 45 / n))
    assert (first.T @ second / n).abs().max() < 4 * math.sqrt(1 / 9 / n)


def test_positions_follow_the_nuclei():
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    here = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0, 3]])
    there = Molecule.from_atoms([["Li", 1, -2, 3], ["H", 1, -2, 6]])
    torch.testing.assert_close(draw(here) + shift, draw(there))


def test_a_generator_determines_the_positions_and_the_global_one_is_untouched():
    molecule, state = pair("Li", "H"), torch.random.get_rng_state()
    assert torch.equal(draw(molecule, seed=1), draw(molecule, seed=1))
    assert not torch.equal(draw(molecule, seed=1), draw(molecule, seed=2))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_float32_positions_are_the_rounded_float64_ones():
    molecule = pair("Li", "H")
    single = draw(molecule, dtype=torch.float32)
    assert single.dtype == torch.float32
    assert torch.equal(single, draw(molecule).float())


def test_positions_are_finite_and_distinct():
    positions = draw(Molecule.atom("Kr"), 200)
    assert positions.shape == (200, 36, 3)
    assert positions.isfinite().all()
    assert torch.nn.functional.pdist(positions[0]).min() > 0


def test_no_walkers_are_refused():
    with pytest.raises(ValueError, match="n_walkers=0 must be at least 1"):
        draw(Molecule.atom("H"), 0)
