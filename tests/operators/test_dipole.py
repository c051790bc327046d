import pytest
import torch
from evaluating import Formula
from pyscf import gto, scf

from qmcnet.operators.dipole import Dipole
from qmcnet.states.derived import oscillator_strengths
from qmcnet.system.molecule import Molecule

STRENGTH = 0.41619672  # of 1s-2p, summed over the three 2p states: 2^13 / 3^9


def test_the_dipole_of_a_determinant_is_that_of_pyscf(lithium_hydride, states, assert_mean):
    molecule, orbitals, network, snapshots = lithium_hydride
    found = states(network, snapshots.flatten(0, 1))
    local = found.local(Dipole(molecule)(found))[..., 0, 0].unflatten(0, snapshots.shape[:2])
    atoms = list(zip(molecule.symbols, molecule.coordinates, strict=True))
    mean_field = scf.RHF(gto.M(atom=atoms, basis="sto-3g", unit="bohr", verbose=0))
    density = 2 * orbitals.up @ orbitals.up.T
    expected = torch.tensor(mean_field.dip_moment(dm=density.numpy(), unit="AU", verbose=0))
    assert abs(expected[2]) > 1.5
    assert_mean(local, expected, largest_error=0.02)


@pytest.mark.parametrize("charge", [0, 1])
def test_moving_the_system_adds_its_charge_times_the_distance(charge, states):
    shift = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    here = Molecule.diatomic("Li", "H", 3.0, "bohr", charge=charge, spin=charge)
    moved = tuple(tuple(row) for row in (here.nuclei + shift).tolist())
    there = Molecule(here.symbols, moved, charge, charge)
    positions = torch.randn(5, 4 - charge, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def flat(positions):
        return torch.ones(len(positions)).double(), torch.zeros(len(positions)).double()

    before = Dipole(here)(states(Formula(flat, here), positions))
    after = Dipole(there)(states(Formula(flat, there), positions + shift))
    torch.testing.assert_close(after, before + charge * shift[:, None], rtol=0, atol=1e-12)


def hydrogen(mixing):
    """The states 1s, 2px, 2py and 2pz, mixed."""

    def evaluate(positions):
        r = positions[..., 0, :]
        distance = r.norm(dim=-1, keepdim=True)
        s, p = torch.exp(-distance) / torch.pi**0.5, r * torch.exp(-distance / 2) / (32 * torch.pi) ** 0.5
        psi = torch.cat([s, p], -1) @ mixing
        return psi.sign(), psi.abs().log()

    return Formula(evaluate, Molecule.atom("H"))


def test_hydrogen_absorbs_from_1s_to_2p(sampled, local_matrices):
    mixing = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    network = hydrogen(mixing)

    def log_prob(positions):  # of four points with one electron each
        sign, log_abs = network(positions[..., None, :])
        return 2 * torch.linalg.slogdet(sign * log_abs.exp())[1]

    start = 2 * torch.randn(4000, 4, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    snapshots = sampled(log_prob, start, 12, between=3)
    dipole = Dipole(Molecule.atom("H"))
    local = torch.stack([local_matrices(dipole, network, walkers[:, :, None]) for walkers in snapshots])
    local = mixing @ local @ torch.linalg.inv(mixing)  # the eigenstates of the energy
    energies = torch.tensor([-1 / 2, -1 / 8, -1 / 8, -1 / 8], dtype=torch.float64).numpy()
    groups = local.mean(0).unflatten(0, (20, 200)).mean(1)  # (20, 3, 4, 4), independent of one another
    strengths = torch.tensor([oscillator_strengths(energies, group.numpy())[1:].sum() for group in groups])
    error = strengths.std() / 20**0.5
    assert error < 0.02
    assert abs(strengths.mean() - STRENGTH) < 4 * error
    permanent = groups.mean(0).diagonal(dim1=-2, dim2=-1)
    assert (permanent.abs() < 4.5 * groups.diagonal(dim1=-2, dim2=-1).std(0) / 20**0.5).all()
