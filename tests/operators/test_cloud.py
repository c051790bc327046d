import torch
from pyscf import dft, gto

from qmcnet.chemistry.scf import orthonormal_basis
from qmcnet.operators.cloud import Cloud
from qmcnet.system.molecule import Molecule

MOLECULE = Molecule.from_atoms([["O", 0, 0, 0], ["H", 0, 1.4, 1.1], ["Ti", 0, -3.0, 1.0]], spin=1)  # shells up to n = 4


def test_the_density_is_normalised():
    mol = gto.M(atom=list(zip(MOLECULE.symbols, MOLECULE.coordinates, strict=True)), unit="bohr", spin=1, verbose=0)
    grid = dft.gen_grid.Grids(mol)
    grid.level, grid.prune = 4, None
    grid.build()
    density = Cloud(MOLECULE).density(torch.tensor(grid.coords))
    assert abs(density @ torch.tensor(grid.weights) - 1) < 2e-3


def test_points_are_drawn_from_the_density():
    cloud = Cloud(MOLECULE)
    points = cloud.draw(40_000, torch.Generator().manual_seed(0))
    assert points.shape == (40_000, 3)
    basis, coefficients = orthonormal_basis(MOLECULE, "sto-3g")
    orbitals = basis(points) @ coefficients
    products = orbitals[:, :, None] * orbitals[:, None] / cloud.density(points)[:, None, None]
    error = products.std(0) / len(points) ** 0.5
    assert error.max() < 0.1
    exact = torch.eye(orbitals.shape[1], dtype=torch.float64)
    assert ((products.mean(0) - exact).abs() < 4.5 * error).all()


def test_points_reach_as_far_as_an_excited_electron():
    r = torch.linspace(1.0, 40.0, 50, dtype=torch.float64)
    density = Cloud(Molecule.atom("H")).density(torch.nn.functional.pad(r[:, None], (0, 2)))
    excited = torch.exp(-r) / (8 * torch.pi)  # the slowest factor of the density of n = 2
    assert (excited / density < 3).all()
