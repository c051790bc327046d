"""Laws of every optimiser that there is, found by itself."""

import copy

import members
import pytest
import torch
from torch.nn.utils import parameters_to_vector

from qmcnet import FermiNet, Molecule, NaturalStates

BERYLLIUM = Molecule.atom("Be")


@pytest.fixture(params=members.names("optimizer"))
def optimizer(request):
    """An optimiser as its file sets it, of a small network in double precision."""
    sizes = {"n_layers": 1, "hidden_one": 5, "hidden_two": 3, "n_determinants": 2, "dtype": torch.float64}
    return members.made("optimizer", request.param)(NaturalStates(FermiNet(BERYLLIUM, **sizes)))


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(4)
    draw = {"generator": generator, "dtype": torch.float64}
    return [(torch.randn(12, 4, 3, **draw), torch.randn(12, 1, **draw) - 14) for _ in range(4)]


def parameters(optimizer):
    return parameters_to_vector(optimizer.ansatz.parameters()).detach().clone()


def update(optimizer, batch, scale=0.5):
    statistics = optimizer.update(*batch, scale)
    assert all(torch.as_tensor(value).ndim == 0 for value in statistics.values())
    return statistics


def test_it_goes_on_from_what_it_saved_as_if_nothing_had_happened(optimizer, batches):
    twin = copy.deepcopy(optimizer)
    for batch in batches[:2]:
        update(optimizer, batch)
        update(twin, batch)
    again = copy.deepcopy(twin)
    update(again, batches[2])  # another state, which is replaced
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(parameters(twin), again.ansatz.parameters())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for batch in batches[2:]:
        update(optimizer, batch)
        update(again, batch)
    assert torch.equal(parameters(optimizer), parameters(again))


def test_energies_without_a_number_change_nothing(optimizer, batches):
    update(optimizer, batches[0])
    before = parameters(optimizer)
    positions, energies = batches[1]
    update(optimizer, (positions, torch.full_like(energies, torch.nan)))
    assert torch.equal(parameters(optimizer), before)


def test_a_lost_walker_counts_for_nothing(optimizer, batches):
    twin = copy.deepcopy(optimizer)
    positions, energies = batches[0]
    lost, moved = energies.index_fill(0, torch.tensor([5]), torch.inf), positions.clone()
    moved[5] += 1
    update(optimizer, (positions, lost))
    update(twin, (moved, lost))
    torch.testing.assert_close(parameters(optimizer), parameters(twin), rtol=1e-9, atol=1e-12)


def test_the_first_update_goes_downhill(optimizer, batches):
    positions, energies = batches[0]
    ansatz = optimizer.ansatz
    weights = energies - energies.mean()
    gradient = torch.autograd.grad((weights * ansatz.factors(positions)).sum(), list(ansatz.parameters()))
    before = parameters(optimizer)
    update(optimizer, batches[0])
    assert (parameters(optimizer) - before) @ parameters_to_vector([part.contiguous() for part in gradient]) < 0


@pytest.mark.parametrize("change", [lambda energies: energies[:, 0], lambda energies: energies + 0j])
def test_energies_of_another_shape_or_kind_are_refused(optimizer, batches, change):
    positions, energies = batches[0]
    before = parameters(optimizer)
    with pytest.raises(ValueError, match=r"must be real, one for each of the factors of a walker: \(B, G\)"):
        optimizer.update(positions, change(energies))
    assert torch.equal(parameters(optimizer), before)
