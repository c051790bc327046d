import pytest
import torch
from evaluating import Formula, local_energy

from qmcnet import MolecularHamiltonian
from qmcnet.ansatz import FermiNet
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import LocalEnergy
from qmcnet.system.molecule import Molecule

DOUBLE = torch.float64
BACKENDS = {"forward": ForwardLaplacian(), "torch_func": TorchFuncLaplacian()}
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")

each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)


def walkers(molecule, n_walkers=50):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n_walkers, molecule.n_electrons, 3, dtype=DOUBLE, generator=generator)


def orbital_product(molecule, charge, nucleus=(0.0, 0.0, 0.0)):
    """Return psi = prod_i exp(-charge |r_i - R|)."""
    centre = torch.tensor(nucleus, dtype=DOUBLE)

    def psi(positions):
        log_abs = torch.linalg.vector_norm(positions - centre, dim=-1).sum(-1) * -charge
        return torch.ones(positions.shape[0], dtype=positions.dtype), log_abs

    return Formula(psi, molecule)


def network(molecule, **options):
    sizes = {"n_layers": 2, "hidden_one": 8, "hidden_two": 5, "n_determinants": 2, "dtype": DOUBLE}
    return FermiNet(molecule, **{**sizes, **options}).requires_grad_(False)


@each_backend
@pytest.mark.parametrize(("symbol", "charge", "energy"), [("H", 0, -0.5), ("He", 1, -2.0), ("Li", 2, -4.5)])
def test_hydrogenic_ground_states_have_no_variance(backend, symbol, charge, energy):
    centre = (0.4, -1.0, 0.2)
    molecule = Molecule((symbol,), (centre,), charge=charge, spin=1)
    positions = walkers(molecule)
    z = molecule.charges.item()
    local = local_energy(orbital_product(molecule, z, centre), positions, backend)
    assert local.total.tolist() == pytest.approx([energy] * len(positions), abs=1e-10)
    assert local.kinetic.std() > 0.1


@each_backend
def test_other_exponents_have_variance(backend):
    molecule = Molecule.atom("H")
    positions = walkers(molecule)
    local = local_energy(orbital_product(molecule, 1.1), positions, backend)
    expected = -0.5 * 1.1**2 + 0.1 / positions.norm(dim=-1).sum(-1)
    torch.testing.assert_close(local.total, expected, rtol=1e-11, atol=1e-11)


@each_backend
def test_an_atomic_orbital_is_not_exact_in_a_molecule(backend):
    molecule = Molecule.diatomic("H", "H", 2.0, "bohr", charge=1, spin=1)
    positions = walkers(molecule)
    local = local_energy(orbital_product(molecule, 1.0), positions, backend)
    other = (positions[:, 0] - molecule.nuclei[1]).norm(dim=-1)
    torch.testing.assert_close(local.total, -0.5 - 1 / other + 0.5, rtol=1e-11, atol=1e-11)
    assert local.total.std() > 0.1


@each_backend
@pytest.mark.parametrize("exponent", [27 / 16, 2.0])
def test_helium_with_hydrogenic_orbitals(backend, exponent):
    molecule = Molecule.atom("He")
    positions = walkers(molecule)
    local = local_energy(orbital_product(molecule, exponent), positions, backend)
    distances = positions.norm(dim=-1)
    repulsion = 1 / (positions[:, 0] - positions[:, 1]).norm(dim=-1)
    expected = -(exponent**2) + ((exponent - 2) / distances).sum(-1) + repulsion
    torch.testing.assert_close(local.total, expected, rtol=1e-11, atol=1e-11)


@each_backend
def test_the_total_is_the_sum_of_its_terms(backend):
    local = local_energy(network(LIH, n_layers=1), walkers(LIH, 5), backend)
    kinetic, attraction, repulsion, of_nuclei = (term[:, 0, 0] for term in local.terms.values())
    assert list(local.terms) == ["kinetic", "electron_nucleus", "electron_electron", "nucleus_nucleus"]
    assert torch.equal(local.kinetic, kinetic)
    assert torch.equal(local.potential, attraction + repulsion + of_nuclei)
    assert torch.equal(local.total, kinetic + local.potential)
    assert torch.equal(local.matrix[:, 0, 0], local.total)
    assert (attraction < 0).all()
    assert (repulsion > 0).all()
    assert of_nuclei.tolist() == pytest.approx([3 / 3.015] * 5, rel=1e-14)
    assert local.overlap.tolist() == [[[1.0]]] * 5


def test_a_further_term_is_added():
    class Field:
        """A field along z of 0.3 atomic units."""

        name = "field"

        def __call__(self, states):
            return states.times(0.3 * states.positions[..., 2].sum(-1, keepdim=True))

    psi, positions = network(LIH, n_layers=1), walkers(LIH, 5)
    plain, local = local_energy(psi, positions), local_energy(psi, positions, terms=[Field()])
    field = 0.3 * positions[..., 2].sum(-1)
    torch.testing.assert_close(local.terms["field"][:, 0, 0], field)
    torch.testing.assert_close(local.total, plain.total + field, rtol=1e-13, atol=0)
    torch.testing.assert_close(local.potential, plain.potential + field, rtol=1e-13, atol=0)
    assert torch.equal(local.kinetic, plain.kinetic)


@pytest.mark.parametrize("jastrow", ["cusp", "none"])
@pytest.mark.parametrize(
    "molecule", [Molecule.atom("H"), Molecule.atom("He", spin=2), LIH], ids=["H", "He triplet", "LiH"]
)
def test_back_ends_give_equal_energies(molecule, jastrow):
    psi, positions = network(molecule, jastrow=jastrow, n_layers=1), walkers(molecule, 3)
    forward, reference = (local_energy(psi, positions, b) for b in BACKENDS.values())
    for name, term in (forward.terms | {"total": forward.total}).items():
        torch.testing.assert_close(term, (reference.terms | {"total": reference.total})[name], rtol=1e-9, atol=1e-9)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_energies_are_in_double_precision(backend, dtype):
    positions = walkers(LIH, 5).to(dtype)
    local = local_energy(network(LIH, n_layers=1, dtype=dtype), positions, backend)
    for term in (*local.terms.values(), local.overlap, local.kinetic, local.potential, local.total):
        assert term.dtype == DOUBLE
    double = network(LIH, n_layers=1)
    double.load_state_dict(network(LIH, n_layers=1, dtype=dtype).state_dict())
    expected = local_energy(double, positions.double(), backend)
    torch.testing.assert_close(local.kinetic, expected.kinetic, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(local.potential, expected.potential, rtol=1e-13, atol=0)


@each_backend
def test_energies_carry_no_graph(backend):
    psi = network(LIH, n_layers=1).requires_grad_(True)
    assert not local_energy(psi, walkers(LIH, 2), backend).total.requires_grad


# torch itself refuses second derivatives of the determinant that vanishes where electrons of equal spin meet.
@pytest.mark.parametrize(
    ("backend", "place"),
    [
        ("forward", "nucleus"),
        ("forward", "equal spin"),
        ("forward", "opposite spin"),
        ("torch_func", "nucleus"),
        ("torch_func", "opposite spin"),
    ],
)
def test_coincidence_is_reported_for_that_walker_alone(backend, place):
    psi, positions = network(LIH, n_layers=1, jastrow="cusp"), walkers(LIH, 3)
    expected = local_energy(psi, positions, BACKENDS[backend]).total
    positions[1, 0] = {"nucleus": LIH.nuclei[1], "equal spin": positions[1, 1], "opposite spin": positions[1, 2]}[place]
    total = local_energy(psi, positions, BACKENDS[backend]).total
    assert torch.isfinite(total).tolist() == [True, False, True]
    torch.testing.assert_close(total[[0, 2]], expected[[0, 2]], rtol=1e-10, atol=1e-10)


def without_distances(psi):
    """Keep |r_ij| out of the network: it would add to the cusp of the Jastrow factor."""
    layer = psi.layers[0]
    layer.pair.weight[:, 3] = 0
    layer.own.weight[:, layer.mean.in_features // len(layer.spins) :].unflatten(1, (-1, 4))[..., 3] = 0
    return psi


@pytest.mark.parametrize("spin", [0, 2])
def test_the_cusp_factor_removes_the_divergence_where_electrons_meet(spin):
    molecule = Molecule.atom("He", spin=spin)
    gaps = torch.tensor([1e-3, 1e-4], dtype=DOUBLE)
    positions = torch.tensor([0.6, -0.3, 0.5], dtype=DOUBLE).expand(2, 2, 3).clone()
    positions[:, 1] += gaps[:, None] * torch.tensor([0.36, 0.48, 0.8], dtype=DOUBLE)

    def divergence(jastrow):
        """Return a in E_L = a / r_12 + b."""
        total = local_energy(without_distances(network(molecule, jastrow=jastrow)), positions).total
        return ((total[1] - total[0]) / (1 / gaps[1] - 1 / gaps[0])).item()

    assert divergence(jastrow="none") == pytest.approx(1, abs=1e-3)
    assert divergence(jastrow="cusp") == pytest.approx(0, abs=1e-3)


def test_local_energy_is_a_value():
    matrix = torch.zeros(2, 1, 1, dtype=DOUBLE)
    with pytest.raises(AttributeError):
        LocalEnergy({"kinetic": matrix}, matrix).overlap = matrix


class Twice:
    """A term with the name of another."""

    name = "electron_electron"

    def __call__(self, states):
        return states.times(torch.ones(len(states.psi), 1))


def test_terms_of_one_name_are_refused_since_one_would_be_lost():
    with pytest.raises(ValueError, match="have the names electron_electron twice"):
        MolecularHamiltonian(LIH, [Twice()])
