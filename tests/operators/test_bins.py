import pytest
import torch

from qmcnet.operators.bins import Bins


def test_distances_are_counted_between_the_edges_of_their_bin():
    bins = Bins(4, 2.0)
    assert bins.centers == (0.25, 0.75, 1.25, 1.75)
    distances = torch.tensor([[0.0, 0.499, 0.5, 1.99], [2.0, 7.0, torch.inf, 1.2]])
    expected = torch.tensor([[2.0, 1, 0, 1], [0, 0, 1, 0]], dtype=torch.float64) / 0.5
    assert torch.equal(bins.density(distances), expected)


@pytest.mark.parametrize(
    ("n_bins", "largest", "message"),
    [
        (0, 1.0, "n_bins=0 must be at least 1"),
        (-1, 1.0, "n_bins=-1 must be at least 1"),
        (5, 0.0, "largest=0.0 must be positive"),
        (5, -2.0, "largest=-2.0 must be positive"),
        (5, float("nan"), "largest=nan must be positive"),
    ],
)
def test_bins_that_hold_nothing_are_refused(n_bins, largest, message):
    with pytest.raises(ValueError, match=message):
        Bins(n_bins, largest)
