import pytest
import torch
from evaluating import Formula

from qmcnet.chemistry.scf import hartree_fock
from qmcnet.chemistry.targets import excited_determinants
from qmcnet.protocols import Derivatives
from qmcnet.sampling import Metropolis, initial_positions
from qmcnet.states.ensemble import states_at
from qmcnet.states.natural import NaturalStates
from qmcnet.system.molecule import Molecule


class Determinants(Formula):
    """States that are sums of Slater determinants; a term is (coefficient, orbitals of up, of down electrons)."""

    def __init__(self, orbitals, states, molecule):
        super().__init__(self.evaluate, molecule)
        self.orbitals, self.states = orbitals, states

    def evaluate(self, positions):
        values = self.orbitals(positions)  # (..., N, orbitals)
        n_up = len(self.states[0][0][1])
        up, down = values[..., :n_up, :], values[..., n_up:, :]
        states = [
            sum(c * torch.linalg.det(up[..., list(a)]) * torch.linalg.det(down[..., list(b)]) for c, a, b in terms)
            for terms in self.states
        ]
        psi = torch.stack(states, -1) if len(states) > 1 else states[0]  # one state has no axis of states
        return torch.sgn(psi), psi.abs().log()


@pytest.fixture(scope="session")
def determinants():
    return Determinants


def undifferentiated(function, positions):
    """A back end for operators that ask for no derivatives; those that do get no number."""
    value, extra = function(positions)
    nan = torch.full_like(value, torch.nan)
    return Derivatives(value, nan[..., None, None].expand(*nan.shape, *positions.shape[1:]), nan, extra)


@pytest.fixture(scope="session")
def states():
    """The states of a network at points (M, N, 3), of which S make a walker."""

    def evaluate(network, positions, seed=0):
        ensemble = NaturalStates(network)
        walkers = positions.reshape(-1, ensemble.n_states * positions.shape[1], 3)
        return states_at(ensemble, walkers, undifferentiated, torch.Generator().manual_seed(seed))

    return evaluate


@pytest.fixture(scope="session")
def local_matrices(states):
    """Psi^-1 (O Psi) at walkers (B, S, N, 3), as (B, C, S, S)."""

    def evaluate(observable, network, walkers, seed=0):
        found = states(network, walkers.flatten(0, 1), seed)
        return found.local(observable(found))

    return evaluate


@pytest.fixture(scope="session")
def sampled():
    """Draw snapshots of independent walkers, as (T, B, N, 3)."""

    def draw(log_prob, start, n_snapshots, between=2, burn_in=20):
        # Wide moves of single electrons take those of the valence far, at little cost to those of the core.
        sampler = Metropolis(n_blocks=None, width=1.0, target_low=0.2, target_high=0.25)
        generator = torch.Generator().manual_seed(1)
        walkers, snapshots = sampler.start(start), []
        for sweep in range(burn_in + n_snapshots * between):
            walkers, _ = sampler.sweep(log_prob, walkers, generator, adapt=sweep < burn_in)
            if sweep >= burn_in and (sweep - burn_in) % between == between - 1:
                snapshots.append(walkers.positions)
        return torch.stack(snapshots)

    return draw


@pytest.fixture(scope="session")
def lithium_hydride(sampled):
    """A Hartree-Fock determinant: molecule, orbitals of its electrons, wavefunction, walkers sampled from it."""
    molecule = Molecule.diatomic("Li", "H", 3.015, "bohr")
    mean_field = hartree_fock(molecule, "sto-3g", "rohf")
    orbitals, log_prob = mean_field.orbitals, excited_determinants(mean_field, 1, "ordered", 0).log_prob

    def occupied(positions):
        return orbitals.basis(positions) @ orbitals.up

    network = Determinants(occupied, [[(1.0, (0, 1), (0, 1))]], molecule)
    start = initial_positions(molecule, 4000, torch.Generator().manual_seed(2), torch.float64, "cpu")
    return molecule, orbitals, network, sampled(log_prob, start, 20, between=2, burn_in=30)


@pytest.fixture(scope="session")
def assert_mean():
    """Compare the mean over snapshots (T, B, ...) of independent walkers with what is expected, both ways."""

    def compare(samples, expected, largest_error):
        by_walker = samples.mean(0)
        error = by_walker.std(0) / len(by_walker) ** 0.5
        assert error.max() < largest_error
        assert ((by_walker.mean(0) - expected).abs() < 4 * error + 1e-12).all()

    return compare
