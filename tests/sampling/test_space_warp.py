import pytest
import torch

from qmcnet.sampling.space_warp import space_warp

DOUBLE = torch.float64
NUCLEI = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [2.0, 1.0, 0.0]], dtype=DOUBLE)
CHARGES = torch.tensor([8.0, 1.0, 3.0])


@pytest.fixture
def electrons():
    return 2 * torch.randn(50, 4, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))


def test_electrons_move_rigidly_with_a_translated_molecule(electrons):
    shift = torch.tensor([0.3, -1.7, 40.0], dtype=DOUBLE)
    torch.testing.assert_close(
        space_warp(electrons, NUCLEI, NUCLEI + shift, CHARGES), electrons + shift, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_nothing_moves_where_no_nucleus_does(electrons, dtype):
    moved = space_warp(electrons.to(dtype), NUCLEI, NUCLEI, CHARGES)
    assert moved.dtype == dtype
    assert torch.equal(moved, electrons.to(dtype))


def test_an_electron_on_a_nucleus_goes_where_the_nucleus_goes(electrons):
    after = NUCLEI + torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]], dtype=DOUBLE)
    on_nuclei = NUCLEI.expand(5, 3, 3)
    torch.testing.assert_close(space_warp(on_nuclei, NUCLEI, after, CHARGES), after.expand(5, 3, 3), rtol=0, atol=1e-12)


def test_the_electrons_of_a_nucleus_far_away_stay_with_it(electrons):
    far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 100.0]], dtype=DOUBLE)
    after = far + torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 7.0]], dtype=DOUBLE)
    near_first = 0.2 * electrons
    # The share of the other nucleus is at most (2 / 98)^(5/2) = 6e-5, of a displacement below 9.
    assert near_first.norm(dim=-1).max() < 2
    torch.testing.assert_close(space_warp(near_first, far, after, torch.ones(2)), near_first, rtol=0, atol=6e-4)
    near_second = near_first + far[1]
    torch.testing.assert_close(
        space_warp(near_second, far, after, torch.ones(2)), near_first + after[1], rtol=0, atol=6e-4
    )


def test_the_share_of_a_nucleus_falls_with_its_distance_and_grows_with_its_charge():
    nuclei = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], dtype=DOUBLE)
    after = nuclei + torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=DOUBLE)
    for charges, ratio in (([1.0, 1.0], 2**2.5), ([1.0, 16.0], 2**2.5 / 8**2.5)):
        moved = space_warp(torch.tensor([[[1.0, 0.0, 0.0]]], dtype=DOUBLE), nuclei, after, torch.tensor(charges))
        expected = torch.tensor([[[1.0, ratio / (1 + ratio), 1 / (1 + ratio)]]], dtype=DOUBLE)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)
