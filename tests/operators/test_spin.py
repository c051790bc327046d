import numpy as np
import pytest
import torch
from evaluating import Formula

from qmcnet.ansatz import FermiNet
from qmcnet.operators.spin import ExcessSpin, Spin
from qmcnet.system.molecule import Molecule


def shapes(positions):
    """Five orbitals that are linearly independent and neither orthogonal nor normalised."""
    x, y, z = positions.unbind(-1)
    decay = torch.exp(-0.4 * positions.square().sum(-1) - 0.1 * x)
    return decay[..., None] * torch.stack([torch.ones_like(x), x, y + 0.3 * x, z * x, y * y - z], -1)


def system(n_up, n_down):
    n = n_up + n_down
    return Molecule.atom(["H", "He", "Li", "Be", "B"][n - 1], spin=n_up - n_down)


def draw(*shape):
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


PURE = {
    "closed shell of two": ([(1, (0,), (0,))], 0),
    "closed shell of four": ([(1, (0, 2), (0, 2))], 0),
    "open-shell singlet": ([(1, (0,), (1,)), (1, (1,), (0,))], 0),
    "triplet with m = 0": ([(1, (0,), (1,)), (-1, (1,), (0,))], 2),
    "one electron": ([(1, (3,), ())], 3 / 4),
    "restricted open-shell doublet": ([(1, (0, 1), (0,))], 3 / 4),
    "doublet of five": ([(1, (0, 1, 2), (0, 2))], 3 / 4),
    "triplet": ([(1, (0, 1), ())], 2),
    "restricted open-shell triplet": ([(1, (0, 1, 2), (0,))], 2),
    "quartet with m = 1/2": ([(1, (0, 1), (2,)), (-1, (0, 2), (1,)), (1, (1, 2), (0,))], 15 / 4),
}


@pytest.mark.parametrize(("terms", "expected"), PURE.values(), ids=PURE)
def test_pure_states_are_eigenfunctions_at_every_point(terms, expected, determinants, states):
    n_up, n_down = len(terms[0][1]), len(terms[0][2])
    molecule = system(n_up, n_down)
    found = states(determinants(shapes, [terms], molecule), draw(20, n_up + n_down))
    result = Spin(molecule)(found)
    assert result.shape == (20, 1, 1)
    torch.testing.assert_close(result[:, 0], expected * found.psi, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("terms", "s_squared"), PURE.values(), ids=PURE)
def test_the_spin_penalty_is_zero_for_the_lowest_spin_and_rises_with_it(terms, s_squared, determinants, states):
    molecule = system(len(terms[0][1]), len(terms[0][2]))
    found = states(determinants(shapes, [terms], molecule), draw(20, molecule.n_electrons))
    lowest = molecule.spin / 2 * (molecule.spin / 2 + 1)
    expected = 0.7 * (s_squared - lowest) * found.psi[:, None]
    torch.testing.assert_close(ExcessSpin(molecule, 0.7)(found), expected, rtol=0, atol=1e-10)


def test_two_open_shells_mix_singlet_and_triplet(determinants, local_matrices):
    network = determinants(shapes, [[(1, (0,), (1,))], [(1, (1,), (0,))]], system(1, 1))
    expected = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    found = local_matrices(Spin(system(1, 1)), network, draw(20, 2, 2))
    torch.testing.assert_close(found, expected.expand(20, 1, 2, 2), rtol=0, atol=1e-9)


# The flips S+ S- of spins move electrons between |01 2|, |02 1| and |12 0|, with a sign where they are reordered.
FLIPS = torch.tensor([[7 / 4, -1, 1], [-1, 7 / 4, -1], [1, -1, 7 / 4]], dtype=torch.float64)
THREE = [[(1, (0, 1), (2,))], [(1, (0, 2), (1,))], [(1, (1, 2), (0,))]]


def test_three_open_shells_give_two_doublets_and_a_quartet(determinants, local_matrices):
    found = local_matrices(Spin(system(2, 1)), determinants(shapes, THREE, system(2, 1)), draw(20, 3, 3))
    torch.testing.assert_close(found, FLIPS.expand(20, 1, 3, 3), rtol=0, atol=1e-8)
    assert np.linalg.eigvalsh(FLIPS) == pytest.approx([3 / 4, 3 / 4, 15 / 4])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_mixing_the_states_is_a_change_of_basis(dtype, determinants, local_matrices):
    mixing = torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)

    def mixed(positions):
        sign, log_abs = determinants(shapes, THREE, system(2, 1))(positions)
        psi = (sign * log_abs.exp()).to(dtype) @ mixing
        return torch.sgn(psi), psi.abs().log()

    found = local_matrices(Spin(system(2, 1)), Formula(mixed, system(2, 1)), draw(20, 3, 3))
    expected = torch.linalg.solve(mixing, FLIPS.to(dtype) @ mixing)
    torch.testing.assert_close(found, expected.expand(20, 1, 3, 3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("mixture", [0.0, 0.4, 1.0])
def test_an_unrestricted_determinant_is_contaminated_by_the_overlaps_of_its_orbitals(mixture, determinants, states):
    nodes, weights = (torch.tensor(part) for part in np.polynomial.hermite.hermgauss(12))
    x = torch.cartesian_prod(nodes, nodes)
    weight = torch.cartesian_prod(weights, weights).prod(-1) * x.square().sum(-1).exp()

    def orbitals(positions):  # orthogonal 0 and 1, and a normalised mixture of them
        x = positions[..., 0]
        first, second = torch.exp(-x * x / 2), torch.exp(-x * x / 2) * x * 2**0.5
        return torch.stack([first, second, (1 - mixture**2) ** 0.5 * first + mixture * second], -1)

    positions = torch.nn.functional.pad(x[..., None], (0, 2))
    network = determinants(orbitals, [[(1, (0,), (2,))]], system(1, 1))
    sign, log_abs = network(positions)
    psi, found = sign * log_abs.exp(), states(network, positions)
    operated = psi * found.local(Spin(system(1, 1))(found))[:, 0, 0, 0]
    mean = (weight * psi * operated).sum() / (weight * psi**2).sum()
    assert mean == pytest.approx(1 - (1 - mixture**2), abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_states_of_a_network_are_exchanged_one_pair_at_a_time(dtype, states):
    molecule = system(3, 2)
    network = FermiNet(molecule, n_layers=2, hidden_one=8, hidden_two=4, n_determinants=2, n_states=2).to(dtype)
    positions = draw(4, 5).to(dtype)
    found = states(network, positions)
    result = Spin(molecule)(found)
    assert result.dtype == torch.float64
    s_z = 1 / 2
    with torch.no_grad():
        for m, walker in enumerate(positions):
            for state in range(2):
                sign, log_abs = (part[0, state] for part in network(walker[None], molecule.nuclei))
                local = s_z * (s_z + 1) + 2
                for up in range(3):
                    for down in (3, 4):
                        swapped = walker.clone()
                        swapped[up], swapped[down] = walker[down], walker[up]
                        other = [part[0, state] for part in network(swapped[None], molecule.nuclei)]
                        local = local - sign * other[0] * torch.exp(other[1] - log_abs)
                ratio = result[m, 0, state] / found.psi[m, state]
                torch.testing.assert_close(ratio, local.double(), rtol=2e-4 if dtype == torch.float32 else 1e-9, atol=0)
