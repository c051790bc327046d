"""Networks that see their electrons at the geometry of a training, where there was one elsewhere."""

import members
import pytest
import torch

from qmcnet import ForwardLaplacian, NaturalStates
from qmcnet.ansatz import FermiNet
from qmcnet.ansatz.features import features
from qmcnet.ansatz.frame import MOST_STRAIN
from qmcnet.system.molecule import Molecule
from qmcnet.system.warp import largest_outside, strain, warp_weights

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
WATER = Molecule(("O", "H", "H"), ((0, 0, 0), (0, 1.43, 1.107), (0, -1.43, 1.107)))
SHIFT = torch.tensor([[0.05, 0.0, -0.1], [0.1, 0.2, 0.0]], dtype=DOUBLE)


def carried(small, kind=FermiNet, molecule=LIH, shift=SHIFT, **options):
    """A network whose nuclei have moved to where those of the molecule are."""
    network = small(kind, molecule, **options)
    network.frame.carry(molecule.nuclei - shift, molecule.nuclei)
    return network


def where_seen(network, positions):
    """Where nuclei see the electrons."""
    seen = network.frame.nuclei
    return network.frame(positions, network.molecule.nuclei).r_en[..., 0, :] + seen[0]


@pytest.mark.parametrize("kind", members.networks())
@pytest.mark.parametrize("ecp", [{}, {"Li": "ccecp"}], ids=["all electrons", "ecp"])
def test_a_carried_network_has_the_derivatives_of_automatic_differentiation(
    kind, ecp, small, randomized, walkers, second_derivatives
):
    molecule = LIH.with_ecp(ecp)
    network = randomized(carried(small, kind, molecule))
    positions = walkers(molecule, 3)
    log_psi = NaturalStates(network).log_psi
    found = ForwardLaplacian()(log_psi, positions)
    expected = second_derivatives(lambda r: log_psi.states(r)[1][:, 0], positions)
    torch.testing.assert_close(found.gradient[:, 0], expected.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.laplacian[:, 0], expected.laplacian, rtol=1e-9, atol=1e-9)
    plain = randomized(small(kind, molecule))
    assert (found.value[:, 0] - NaturalStates(plain).log_psi.states(positions)[1][:, 0]).abs().min() > 1e-3


def test_an_electron_at_a_nucleus_sees_it_where_it_is_and_other_electrons_where_they_are(small, walkers):
    network, positions = carried(small), walkers(LIH, 5)
    for nucleus, place in enumerate(LIH.nuclei):
        for distance in (0.1, 0.01):
            positions[:, 1] = place + distance * torch.nn.functional.normalize(positions[:, 0], dim=-1)
            found, expected = network.frame(positions, LIH.nuclei), features(positions, LIH.nuclei, LIH)
            bound = largest_outside(torch.full((2,), distance, dtype=DOUBLE), LIH.nuclei, LIH.charges.double())[nucleus]
            off = (found.r_en - expected.r_en)[:, 1, nucleus].norm(dim=-1) / (SHIFT[0] - SHIFT[1]).norm()
            assert 0.5 * bound < off.max() <= bound < distance**2
            assert (found.r_en - expected.r_en)[:, 1, 1 - nucleus].norm(dim=-1).min() > 0.1
            assert torch.equal(found.r_ee, expected.r_ee)
            assert torch.equal(found.d_ee, expected.d_ee)


@pytest.mark.parametrize("molecule", [LIH, WATER, LIH.with_ecp({"Li": "ccecp"})], ids=["LiH", "H2O", "ecp"])
def test_the_strain_is_nearly_the_largest_between_two_nuclei(molecule):
    nuclei, charges = molecule.nuclei, molecule.charges.double()
    shift = torch.randn(len(nuclei), 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(4)) * 0.05
    largest = 0.0
    for i in range(len(nuclei)):
        for j in range(i):  # of the two alone, as the strain is measured
            pair = [i, j]
            steps = torch.linspace(0.01, 0.99, 400, dtype=DOUBLE)[:, None]
            line = (nuclei[i] + steps * (nuclei[j] - nuclei[i])).requires_grad_()
            moved = warp_weights(line, nuclei[pair], charges[pair]) @ shift[pair]
            slopes = [torch.autograd.grad(part.sum(), line, retain_graph=True)[0] for part in moved.unbind(-1)]
            largest = max(largest, torch.linalg.matrix_norm(torch.stack(slopes, 1), 2).max().item())
    assert 0.9 * largest < strain(nuclei - shift, nuclei, charges) <= largest * (1 + 1e-4)
    assert strain(nuclei - 3.0, nuclei, charges) < 1e-12


def test_a_network_is_carried_as_far_as_no_two_electrons_are_seen_at_one_place(small, walkers):
    far = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=DOUBLE)
    network = carried(small, shift=far)
    rest = LIH.nuclei - network.frame.nuclei
    assert strain(network.frame.nuclei, LIH.nuclei, LIH.charges.double()) == pytest.approx(MOST_STRAIN)
    torch.testing.assert_close(rest, far * (rest[1, 2] / 3))
    positions = walkers(LIH, 300).flatten(0, 1) * 2
    positions.requires_grad_()
    seen = where_seen(network, positions.view(-1, 4, 3)).view(-1, 3)
    slopes = torch.stack([torch.autograd.grad(seen[:, k].sum(), positions, retain_graph=True)[0] for k in range(3)], 1)
    assert torch.linalg.svdvals(slopes).min() > 0.99 * (1 - MOST_STRAIN)
    assert torch.linalg.svdvals(slopes).max() > 1.1


def test_nuclei_that_move_alike_need_no_carrying(small):
    shift = torch.tensor([[3.0, -1.0, 2.0]], dtype=DOUBLE).expand(2, 3)
    assert carried(small, shift=shift).frame.nuclei is None


def test_the_geometry_of_the_training_is_part_of_the_state(small, walkers):
    network, fresh, positions = carried(small), small(FermiNet, LIH), walkers(LIH)
    plain = {name: value.clone() for name, value in fresh.state_dict().items()}
    before = fresh(positions, LIH.nuclei)[1]
    assert network.state_dict().keys() - plain.keys() == {"frame.nuclei"}
    fresh.load_state_dict(network.state_dict())
    assert torch.equal(fresh(positions, LIH.nuclei)[1], network(positions, LIH.nuclei)[1])
    assert not torch.equal(fresh(positions, LIH.nuclei)[1], before)
    fresh.load_state_dict(plain)
    assert torch.equal(fresh(positions, LIH.nuclei)[1], before)
