"""Derivatives of local energies and of log|psi| by the positions of nuclei and electrons."""

import members
import pytest
import torch

from qmcnet import FermiNet, ForwardLaplacian, MolecularHamiltonian, Molecule, NaturalStates, SlaterJastrow, states_at
from qmcnet.compute.chunks import Chunks
from qmcnet.operators.forces import Forces

DOUBLE = torch.float64
LIH = Molecule.diatomic("Li", "H", 3.015, "bohr")
BACKFLOW = {"nuclear_cusp": "factor", "backflow": True, "jastrow": "neural"}
WAVEFUNCTIONS = {
    **{kind.__name__: (kind, sizes) for kind, sizes in members.sizes(n_determinants=2).items()},
    "complex": (FermiNet, members.sizes(n_determinants=2)[FermiNet] | {"complex": True, "jastrow": "neural"}),
    "blocks": (FermiNet, members.sizes(n_determinants=2)[FermiNet] | {"full_determinants": False, "envelope": "full"}),
    "Slater": (SlaterJastrow, {"basis": "6-31g"}),
    "no cusp": (SlaterJastrow, {"basis": "6-31g", "nuclear_cusp": "none", "jastrow": "none"}),
    "backflow": (SlaterJastrow, {"basis": "6-31g", **BACKFLOW}),
}
BACKEND, FORCES, HAMILTONIAN = ForwardLaplacian(), Forces(LIH), MolecularHamiltonian(LIH)
STEP = 2e-3
STENCIL = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}


def noise(*shape, seed=0):
    return torch.randn(shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def made(name):
    kind, options = WAVEFUNCTIONS[name]
    network, generator = kind(LIH, **options, dtype=DOUBLE), torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator)
    return NaturalStates(network)


def responded(ensemble, positions, chunks=None):
    return states_at(ensemble, positions, BACKEND, chunks=chunks).response(FORCES.local_energy)


@pytest.fixture(params=WAVEFUNCTIONS)
def ensemble(request):
    """Every kind of wavefunction of a single state."""
    return made(request.param)


def test_derivatives_are_those_of_the_local_energy(ensemble):
    positions, nuclei = 1.5 * noise(3, 4, 3), ensemble.nuclei.clone()
    found = responded(ensemble, positions)

    def at(electrons, moved):
        ensemble.nuclei.copy_(nuclei + moved)
        states = states_at(ensemble, positions + electrons, BACKEND)
        return torch.stack([HAMILTONIAN(states).total.real, states.log_scale[:, 0]])

    def difference(electrons, moved, step):
        points = [(weight, at(k * step * electrons, k * step * moved)) for k, weight in STENCIL.items()]
        return sum(weight * values for weight, values in points) / step

    torch.testing.assert_close(found.value, at(0, 0)[0], rtol=1e-11, atol=1e-11)
    still = torch.zeros_like(positions), torch.zeros_like(nuclei)
    for electrons, moved in [(noise(4, 3, seed=1).expand(3, 4, 3), still[1]), (still[0], noise(2, 3, seed=2))]:
        expected = (found.by_electrons * electrons).sum((1, 2)) + (found.by_nuclei * moved).sum((1, 2))
        fine, coarse = (difference(electrons, moved, k * STEP) for k in (1, 2))
        # The error of the stencil grows with h^4, to sixteen times itself; energies round, and kinks are rare.
        allowed = (coarse[0] - expected).abs() / 8 + 1e-12 / STEP * (1 + found.value.abs())
        assert ((fine[0] - expected).abs() <= allowed).all()
    torch.testing.assert_close(fine[1], (found.log_by_nuclei * moved).sum((1, 2)), rtol=1e-6, atol=1e-6)


def test_moving_everything_changes_nothing(ensemble):
    found = responded(ensemble, 1.5 * noise(5, 4, 3, seed=3))
    total = found.by_electrons.sum(1) + found.by_nuclei.sum(1)
    size = 1 + found.by_electrons.abs().sum((1, 2))[:, None]
    assert (total.abs() < 1e-11 * size).all()
    assert found.by_nuclei.abs().max() > 0.1


def test_a_chunk_of_walkers_is_a_part_of_all():
    ensemble, positions, chunks = made("FermiNet"), 1.5 * noise(10, 4, 3), Chunks("walkers")
    chunks.sizes["cpu"] = 3
    whole, parts = (vars(responded(ensemble, positions, each)) for each in (None, chunks))
    for name, part in parts.items():
        assert len(part) == 10
        torch.testing.assert_close(part, whole[name], rtol=1e-11, atol=1e-11)


def test_parameters_stay_what_they_are():
    ensemble = made("FermiNet")
    frozen = next(ensemble.parameters()).requires_grad_(False)
    responded(ensemble, noise(2, 4, 3))
    assert [parameter.requires_grad for parameter in ensemble.parameters()].count(False) == 1
    assert not frozen.requires_grad
    assert all(parameter.grad is None for parameter in ensemble.parameters())


def test_derivatives_of_a_float32_network_are_near():
    double, single = made("FermiNet"), made("FermiNet").float()
    single.nuclei = double.nuclei
    positions = noise(20, 4, 3)
    found, expected = responded(single, positions.float()), responded(double, positions.float().double())
    for name in ("by_electrons", "by_nuclei", "log_by_nuclei"):
        part = getattr(found, name)
        assert part.dtype == DOUBLE
        error = (part - getattr(expected, name)).abs().median()
        assert error < 1e-4 * getattr(expected, name).abs().median()


class OneGeometry(torch.nn.Module):
    """Takes nuclei of shape (A, 3) alone; of as many walkers as electrons it would mix them up."""

    def __init__(self):
        super().__init__()
        self.molecule, self.scale = LIH, torch.nn.Parameter(torch.ones(1, dtype=DOUBLE))

    def forward(self, positions, nuclei):
        distances = torch.linalg.vector_norm(positions[..., :, None, :] - nuclei, dim=-1)
        return torch.ones(positions.shape[:1], dtype=DOUBLE), -(distances * self.scale).sum((-2, -1))


@pytest.mark.parametrize("n_walkers", [3, 4])
def test_a_wavefunction_that_mixes_up_the_nuclei_of_walkers_is_refused(n_walkers):
    with pytest.raises(ValueError, match="which OneGeometry does not take: write positions"):
        responded(NaturalStates(OneGeometry()), noise(n_walkers, 4, 3))
