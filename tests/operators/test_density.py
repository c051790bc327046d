import numpy as np
import pytest
import torch
from pyscf import gto
from pyscf.dft import numint
from pyscf.tools import cubegen

from qmcnet.chemistry.scf import hartree_fock
from qmcnet.operators.density import DensityGrid, state_weights
from qmcnet.states.density import DensityAverage
from qmcnet.system.molecule import Molecule


def middles(grid):
    """Middles of the voxels, (x, y, z, 3)."""
    axes = [
        start + grid.spacing * torch.arange(n, dtype=torch.float64)
        for start, n in zip(grid.origin, grid.shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def test_the_grid_covers_the_molecule_symmetrically():
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    grid = DensityGrid.around(molecule, spacing=0.5, margin=2.0)
    assert grid.shape == (8, 8, 15)
    points = middles(grid)
    low, high = points.amin((0, 1, 2)) - 0.25, points.amax((0, 1, 2)) + 0.25
    assert (low <= molecule.nuclei.amin(0) - 2).all()
    torch.testing.assert_close((low + high) / 2, molecule.nuclei.mean(0))


@pytest.mark.parametrize(("symbol", "charge"), [("H", 0), ("Li", 0), ("Na", 0), ("H", -1)])
def test_the_grid_holds_all_electrons(symbol, charge):
    molecule = Molecule.atom(symbol, charge)
    solution = hartree_fock(molecule, "6-31g" if charge == 0 else None).solution
    grid, mol = DensityGrid.around(molecule, spacing=0.5), solution.mol
    points, outwards = np.polynomial.legendre.leggauss(400), np.array([[1.0, 0.0, 0.0]])  # s functions are outermost
    reach, r = float(middles(grid).amax()) + 0.25, 20 * (points[0] + 1)
    density = numint.eval_rho(mol, numint.eval_ao(mol, r[:, None] * outwards), solution.make_rdm1().sum(0))
    beyond = (20 * points[1] * 4 * np.pi * r**2 * density)[r > reach].sum()  # of the sphere in the cube
    assert beyond < 0.08
    assert grid.resized((20, 20, 21)).resized(grid.shape) == grid


def test_sums_of_another_grid_are_continued_on_theirs():
    older, newer = (DensityAverage(DensityGrid.around(Molecule.atom("Li"), 1.0, margin)) for margin in (5.0, None))
    older.bins.add({"counts": torch.ones(1, *older.grid.shape), "n_walkers": torch.tensor(1)})
    newer.load_state_dict(older.state_dict(), torch.device("cpu"))
    assert newer.grid == older.grid


def test_an_electron_is_counted_in_the_voxel_around_it():
    grid = DensityGrid((0.0, 1.0, 2.0), (2, 3, 4), 0.5)
    positions = torch.tensor([[[0.74, 1.6, 2.76], [-0.24, 0.76, 1.76]], [[0.0, 1.0, 2.1], [0.8, 1.0, 2.0]]])
    weights = torch.tensor([[1.0, 10.0], [2.0, 20.0]], dtype=torch.float64)
    expected = torch.zeros(2, 2, 3, 4, dtype=torch.float64)
    expected[:, 1, 1, 2] += weights[0]
    expected[:, 0, 0, 0] += weights.sum(0)  # the last electron is outside
    assert torch.equal(grid.count(positions, weights), expected)


def test_the_density_of_a_determinant(lithium_hydride):
    molecule, orbitals, _, snapshots = lithium_hydride
    grid = DensityGrid.around(molecule, spacing=0.5, margin=3.0)
    n_groups = 20
    groups = snapshots.movedim(1, 0).reshape(n_groups, -1, molecule.n_electrons, 3)
    found = torch.stack(
        [
            grid.density(grid.count(group, torch.ones(len(group), 1).double())[0], n_walkers=len(group))
            for group in groups
        ]
    )
    inside = torch.linspace(-0.25 + 0.03125, 0.25 - 0.03125, 8, dtype=torch.float64)
    offsets = torch.cartesian_prod(inside, inside, inside)
    exact = torch.zeros(grid.shape, dtype=torch.float64)
    for offset in offsets:
        exact += 2 * (orbitals.basis(middles(grid) + offset) @ orbitals.up).square().sum(-1) / len(offsets)
    dense = exact > 5e-3
    assert dense.sum() > 300
    assert exact.sum() * grid.spacing**3 > 3.5
    z = (found.mean(0) - exact)[dense] / (found.std(0)[dense] / n_groups**0.5)
    assert 0.9 < z.square().mean() < 1.4  # 19/17 = 1.12 of Student's t with 19 degrees of freedom
    total = found.sum((1, 2, 3)) * grid.spacing**3
    assert total.std() / n_groups**0.5 < 0.01
    assert abs(total.mean() - exact.sum() * grid.spacing**3) < 4 * total.std() / n_groups**0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_weights_give_the_local_matrices_of_the_counts(dtype):
    generator = torch.Generator().manual_seed(0)
    psi = torch.randn(4, 3, 3, generator=generator, dtype=dtype)
    positions = torch.randn(12, 2, 3, generator=generator, dtype=torch.float64)
    grid = DensityGrid((-1.0, -1.0, -1.0), (3, 3, 3), 1.0)
    weights = state_weights(psi, torch.linalg.inv(psi))
    identity = weights.unflatten(0, (4, 3)).sum(1).unflatten(-1, (3, 3))
    torch.testing.assert_close(identity, torch.eye(3, dtype=dtype).expand(4, 3, 3))
    each = torch.stack([grid.count(point[None], torch.ones(1, 1).double())[0] for point in positions])
    counts = each.unflatten(0, (4, 3)).flatten(2).movedim(-1, 0).to(dtype)  # (voxels, B, S)
    local = torch.linalg.solve(psi, counts[..., None] * psi).sum(1)  # (voxels, S, S)
    torch.testing.assert_close(grid.count(positions, weights).flatten(1).T.unflatten(-1, (3, 3)), local)


def test_a_cube_file_is_read_by_others(tmp_path):
    cube = pytest.importorskip("ase.io.cube")
    bohr = pytest.importorskip("ase.units").Bohr
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    grid = DensityGrid.around(molecule, spacing=0.7, margin=1.5)
    density = torch.rand(grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).pow(40)
    path = tmp_path / "density.cube"
    grid.write_cube(path, molecule, density, "density of LiH")
    n_x, n_y, n_z = grid.shape
    assert len(path.read_text().splitlines()) == 6 + 2 + n_x * n_y * -(-n_z // 6)  # each row of z starts a line
    with path.open() as file:
        read = cube.read_cube(file)
    np.testing.assert_allclose(read["data"], density, rtol=1e-5, atol=1e-99)
    np.testing.assert_allclose(read["origin"] / bohr, grid.origin, atol=1e-6)
    np.testing.assert_allclose(read["spacing"] / bohr, 0.7 * np.eye(3), atol=1e-6)
    np.testing.assert_allclose(read["atoms"].positions / bohr, molecule.nuclei, atol=1e-6)
    assert read["atoms"].get_chemical_symbols() == ["Li", "H"]
    mol = gto.M(atom=list(zip(molecule.symbols, molecule.coordinates, strict=True)), unit="bohr", verbose=0)
    other = cubegen.Cube(mol, *grid.shape)
    np.testing.assert_allclose(other.read(str(path)), density, rtol=1e-5, atol=1e-99)
    np.testing.assert_allclose(other.boxorig, grid.origin, atol=1e-6)


@pytest.mark.parametrize(
    ("spacing", "margin", "named"),
    [
        (0.0, 1.0, "spacing=0.0"),
        (-0.1, 1.0, "spacing=-0.1"),
        (0.2, 0.0, "margin=0.0"),
        (0.2, float("nan"), "margin=nan"),
    ],
)
def test_a_grid_without_extent_is_refused(spacing, margin, named):
    with pytest.raises(ValueError, match=f"{named} must be positive"):
        DensityGrid.around(Molecule.atom("H"), spacing, margin)
