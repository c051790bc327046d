import itertools

import pytest
import torch

from qmcnet.chemistry.excitations import (
    leading_determinants,
    occupied_orbitals,
    ordered_excitations,
    random_excitations,
)

# Orbital energies of closed shells in hartree, rounded: 1s 2s 2p 2p 2p 3s, and of N2 up to the antibonding pi orbitals.
BERYLLIUM = [-4.73, -0.31, 0.06, 0.06, 0.06, 0.30]
NITROGEN = [-15.69, -15.68, -1.47, -0.77, -0.63, -0.61, -0.61, 0.18, 0.18, 0.61]
BE_GROUND = ((0, 1), (0, 1))


def all_determinants(n_orbitals, n_up, n_down):
    combine = itertools.combinations
    return itertools.product(combine(range(n_orbitals), n_up), combine(range(n_orbitals), n_down))


def degree(determinant, ground):
    return sum(len(set(old) - set(new)) for old, new in zip(ground, determinant, strict=True))


def energy(determinant, energies):
    return sum(energies[spin][p] for spin in (0, 1) for p in determinant[spin])


def test_helium_by_hand():
    levels = [-0.91, 1.40, 2.52]
    chosen = ordered_excitations([levels, levels], ((0,), (0,)), 5)
    # 1s -> 2s of either spin 2.31, 1s -> 2p of either spin 3.43, both to 2s 4.62.
    assert chosen == [((1,), (0,)), ((0,), (1,)), ((2,), (0,)), ((0,), (2,)), ((1,), (1,))]


def test_beryllium_by_hand():
    chosen = ordered_excitations([BERYLLIUM, BERYLLIUM], BE_GROUND, 9)
    to_2p = [((0, p), (0, 1)) for p in (2, 3, 4)] + [((0, 1), (0, p)) for p in (2, 3, 4)]  # 0.37
    assert chosen == [*to_2p, ((0, 5), (0, 1)), ((0, 1), (0, 5)), ((0, 2), (0, 2))]  # 2s -> 3s 0.61, 2s^2 -> 2p^2 0.74


def test_nitrogen_molecule_by_hand():
    ground = (tuple(range(7)), tuple(range(7)))
    pi = [tuple(sorted({*range(7)} - {hole} | {particle})) for hole in (6, 5) for particle in (7, 8)]
    expected = [(up, ground[1]) for up in pi] + [(ground[0], down) for down in pi]  # 0.79, before 5 sigma -> pi*, 0.81
    assert ordered_excitations([NITROGEN, NITROGEN], ground, 8) == expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ground", [((0, 1, 2), (0, 1)), ((0, 2, 3), (1, 4)), ((1,), ()), ((0, 1), (0, 1, 2, 3, 4))])
def test_no_single_or_double_excitation_lies_lower(ground, seed):
    # Occupied orbitals need not be the lowest, and there may be none or all of one spin.
    energies = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
    among = all_determinants(5, *map(len, ground))
    allowed = [excited for excited in among if degree(excited, ground) in (1, 2)]
    expected = sorted(allowed, key=lambda excited: energy(excited, energies))
    n = min(12, len(expected))
    chosen = ordered_excitations(energies, ground, n)
    assert [energy(excited, energies) for excited in chosen] == pytest.approx(
        [energy(excited, energies) for excited in expected[:n]], abs=2e-4
    )
    assert len(set(chosen)) == n
    assert set(chosen) <= set(allowed)


def test_all_there_are_where_more_are_asked_for():
    chosen = ordered_excitations([[0.0, 1.0], [0.0, 1.0]], ((0,), (0,)), 10)
    assert chosen == [((1,), (0,)), ((0,), (1,)), ((1,), (1,))]


def test_random_excitations_are_distinct_and_low_and_follow_their_seed():
    energies = [BERYLLIUM, BERYLLIUM]
    drawn = [random_excitations(energies, BE_GROUND, 6, seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]
    for chosen in drawn:
        assert len(chosen) == len(set(chosen)) == 6
        assert {degree(excited, BE_GROUND) for excited in chosen} <= {1, 2}
    many = [excited for seed in range(20) for excited in random_excitations(energies, BE_GROUND, 6, seed)]
    singles = sum(degree(excited, BE_GROUND) == 1 for excited in many)
    assert 30 < singles < 90  # 12 singles and 12 doubles to draw from: half of 120
    lowest = sorted(energy(e, energies) for e in all_determinants(6, 2, 2) if degree(e, BE_GROUND) == 2)[11]
    assert max(energy(e, energies) for e in many if degree(e, BE_GROUND) == 2) == pytest.approx(lowest)


def test_random_excitations_leave_the_global_random_numbers_alone():
    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    random_excitations([BERYLLIUM, BERYLLIUM], BE_GROUND, 3, 1)
    assert torch.equal(torch.rand(1), first)


def test_leading_determinants_of_singlets_and_triplets():
    first, second = torch.tensor([[0.1, 0.7, 0.0]]), torch.tensor([[0.6, -0.2, 0.1]])
    ground = ((0,), (0,))
    roots = [(first, -first), (first, first), (second, -second), (second, second), (second, 0.9 * second)]
    expected = [((2,), (0,)), ((0,), (2,)), ((1,), (0,)), ((0,), (1,))]
    assert leading_determinants(roots[:4], ground, 4) == expected
    assert leading_determinants(roots, ground, 5)[4] == ((3,), (0,))  # what is left of the fifth: 0.1 up, 0.09 down
    assert leading_determinants(roots, ground, 2) == expected[:2]


def test_leading_determinants_skip_occupied_orbitals_and_empty_spins():
    amplitudes = torch.tensor([[0.0, 0.1], [0.0, -0.9]])  # from orbitals 0 and 2 to orbitals 1 and 3
    assert leading_determinants([(amplitudes, torch.zeros(0, 4))], ((0, 2), ()), 1) == [((0, 3), ())]


def test_occupied_orbitals_need_not_be_the_lowest():
    assert occupied_orbitals([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]) == ((0, 2), (1,))
