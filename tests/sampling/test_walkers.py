import pytest
import torch

from qmcnet.sampling import Walkers


def make_walkers():
    positions = torch.arange(24, dtype=torch.float64).reshape(4, 2, 3)
    return Walkers(positions, torch.tensor(0.3, dtype=torch.float64))


def test_state_round_trip_survives_a_safe_load(tmp_path):
    walkers = make_walkers()
    torch.save(walkers.to_state(), tmp_path / "state.pt")
    loaded = Walkers.from_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(loaded.positions, walkers.positions)
    assert torch.equal(loaded.width, walkers.width)
    assert loaded.width.dtype == torch.float64


def test_replace_changes_only_what_is_named():
    walkers = make_walkers()
    wider = walkers.replace(width=2 * walkers.width)
    assert wider.width == 2 * walkers.width
    assert wider.positions is walkers.positions


@pytest.mark.parametrize("shape", [(4, 3), (4, 2, 2)])
def test_positions_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"positions has shape .* \(B, N, 3\)"):
        Walkers(torch.zeros(shape), torch.tensor(0.1))


def test_a_width_per_walker_is_refused():
    with pytest.raises(ValueError, match="width has shape"):
        Walkers(torch.zeros(4, 2, 3), torch.full((4,), 0.1))
