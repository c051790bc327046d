import pytest
import torch

from qmcnet.ansatz.backflow import WIDTHS, Backflow
from qmcnet.ansatz.features import features
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
MOLECULE = Molecule.from_atoms([["Li", 0, 0, 0], ["H", 0, 0.3, 3.0]], charge=-1, spin=1)  # 3 up, 2 down
POSITIONS = torch.randn(4, 5, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))


def backflow():
    module, generator = Backflow(MOLECULE).double(), torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, dtype=DOUBLE, generator=generator)
    return module.requires_grad_(False)


def shifts(module, positions):
    return module(*features(positions, MOLECULE.nuclei, MOLECULE))


def test_shifts_are_sums_over_pairs_and_nuclei():
    module = backflow()

    def gaussians(coefficients, distance):
        return sum(c * torch.exp(-(distance**2) / (2 * w**2)) for c, w in zip(coefficients, WIDTHS, strict=True))

    expected = torch.zeros_like(POSITIONS)
    for walker, r in enumerate(POSITIONS):
        for i in range(5):
            for j in set(range(5)) - {i}:
                kind = 0 if (i < 3) == (j < 3) else 1
                expected[walker, i] += gaussians(module.electrons[kind], (r[i] - r[j]).norm()) * (r[i] - r[j])
            for a, nucleus in enumerate(MOLECULE.nuclei):
                expected[walker, i] += gaussians(module.nuclei[a], (r[i] - nucleus).norm()) * (r[i] - nucleus)
            for charge, nucleus in zip((3, 1), MOLECULE.nuclei, strict=True):
                expected[walker, i] *= 1 - torch.exp(-(charge**2) * (r[i] - nucleus).square().sum() / 2)
    torch.testing.assert_close(shifts(module, POSITIONS), expected, rtol=1e-12, atol=1e-12)


def test_a_fresh_one_shifts_nothing_but_is_about_to():
    module = Backflow(MOLECULE).double()
    result = shifts(module, POSITIONS)
    assert result.abs().max() == 0
    weights = torch.randn(result.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    for parameter, slope in zip(
        module.parameters(),
        torch.autograd.grad((shifts(module, POSITIONS) * weights).sum(), list(module.parameters())),
        strict=True,
    ):
        assert slope.shape == parameter.shape
        assert (slope != 0).all()


@pytest.mark.parametrize("nucleus", [0, 1])
def test_shifts_vanish_at_nuclei_in_second_order(nucleus):
    def at(distance):
        moved = POSITIONS.clone()
        moved[:, 1] = MOLECULE.nuclei[nucleus] + distance * torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)
        return shifts(backflow(), moved)[:, 1]

    assert at(0.0).abs().max() == 0
    torch.testing.assert_close(at(2e-4), 4 * at(1e-4), rtol=1e-2, atol=0)
    assert at(1e-4).abs().min() > 0


def test_electrons_of_equal_spin_are_alike():
    order = [1, 2, 0, 4, 3]
    module = backflow()
    torch.testing.assert_close(shifts(module, POSITIONS[:, order]), shifts(module, POSITIONS)[:, order])
    other = [3, 1, 2, 0, 4]
    assert (shifts(module, POSITIONS[:, other]) - shifts(module, POSITIONS)[:, other]).abs().max() > 1e-2


def test_electrons_far_away_are_not_seen():
    module, moved = backflow(), POSITIONS.clone()
    moved[:, 4] = 60.0
    assert shifts(module, moved)[:, 4].abs().max() < 1e-20
    further = moved.clone()
    further[:, 4] = 90.0
    torch.testing.assert_close(shifts(module, further)[:, :4], shifts(module, moved)[:, :4], rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("spin", [0, 2])
def test_the_shift_of_a_pair_is_linear_in_a_short_distance(spin):
    # A term of second order, eta'(0), would spoil the cusp of electrons of equal spin.
    helium = Molecule.atom("He", spin=spin)
    module = Backflow(helium).double().requires_grad_(False)
    module.electrons.copy_(backflow().electrons)
    direction = torch.tensor([[[0.36, 0.48, 0.8], [-0.36, -0.48, -0.8]]], dtype=DOUBLE)
    centre = torch.tensor([0.0, 0.7, 0.4], dtype=DOUBLE)
    near, next_ = (module(*features(centre + r * direction, helium.nuclei, helium)).diff(dim=1) for r in (1e-3, 2e-3))
    torch.testing.assert_close(next_, 2 * near, rtol=0, atol=1e-7)
    assert near.abs().min() > 1e-5
