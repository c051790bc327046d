import pytest
import torch

from qmcnet.statistics.time_bins import TimeBins, separate


def filled(steps, most):
    bins = TimeBins(most)
    for step in range(steps):
        bins.add({"one": torch.tensor(1), "step": torch.tensor(float(step))})
    return bins


@pytest.mark.parametrize("most", [8, 64])
@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 63, 64, 65, 127, 128, 129, 550, 1000])
def test_bins_have_the_shortest_length_that_is_enough(steps, most):
    bins = filled(steps, most)
    length = bins.steps_per_bin
    assert most * length >= steps
    assert length == 1 or steps > most * length // 2
    lengths = [int(part["one"]) for part in bins.parts]
    assert lengths[:-1] == [length] * (len(lengths) - 1)
    assert sum(lengths) == bins.n_steps == steps
    assert bins.n_full == sum(own == length for own in lengths)


@pytest.mark.parametrize("steps", [20, 65, 100, 129, 550, 1000, 5000])
def test_few_bins_have_their_edges_where_many_have_them(steps):
    few, many = filled(steps, 8), filled(steps, 64)
    for start in range(0, len(many.parts), 8):
        discarded = start * many.steps_per_bin
        assert discarded % few.steps_per_bin == 0
        for bins in (few, many):
            total = sum(part["step"].item() for part in bins.after(discarded))
            assert total == sum(range(discarded, steps))


@pytest.mark.parametrize("steps", [0, 5, 37])
@pytest.mark.parametrize("apart", [False, True])
def test_a_saved_series_continues(steps, apart):
    bins, other = filled(steps, 8), TimeBins(8)
    state = bins.state_dict()
    if apart:  # as version 0.1 saved it
        state["bins"] = separate(state["bins"])
    other.load_state_dict(state, torch.device("cpu"))
    for step in range(20):
        for each in (bins, other):
            each.add({"one": torch.tensor(1), "step": torch.tensor(float(step))})
    assert other.parts == bins.parts
    assert (other.n_steps, other.steps_per_bin) == (bins.n_steps, bins.steps_per_bin)
