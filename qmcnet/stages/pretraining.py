"""The pretraining stage: fit the orbitals of the network to those of Hartree-Fock, CASSCF or excited determinants.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429.

Letters: B walkers, S states, N electrons, K determinants, n electrons of one spin, M orbitals.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from qmcnet.chemistry.binding import say_unbound_orbitals
from qmcnet.chemistry.casscf import active_space, casscf, leading_of_roots
from qmcnet.chemistry.casscf_orbitals import CasscfOrbitals
from qmcnet.chemistry.excitations import Determinant
from qmcnet.chemistry.scf import default_basis, hartree_fock
from qmcnet.chemistry.state_orbitals import EXCITATIONS, StateOrbitals, excited_determinants
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Row
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)

METHODS = ("uhf", "rohf", "casscf")

_SMALLEST_COEFFICIENT = 0.01  # of a determinant that is worth a share of the network


@dataclass(frozen=True)
class PretrainingSettings:
    """How to pretrain.

    Attributes:
        steps: updates; 0 turns pretraining off.
        learning_rate: of the Adam optimiser.
        basis: Gaussian basis of the target orbitals; None is cc-pVDZ, with diffuse functions for an anion.
        method: 'uhf', 'rohf' or 'casscf'; of several states 'casscf' gives leading determinants of its lowest roots.
        active_electrons: electrons in the active space of 'casscf'.
        active_orbitals: orbitals in the active space of 'casscf'.
        sampling_steps: Metropolis moves between updates.
        excitations: determinants of the excited states of 'uhf' and 'rohf': 'ordered', 'random' or 'cis'.
    """

    steps: int = 1000
    learning_rate: float = 3e-4
    basis: str | None = None
    method: str = "uhf"
    active_electrons: int | None = None
    active_orbitals: int | None = None
    sampling_steps: int = 1
    excitations: str = "ordered"

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for an unknown method or kind of excitations, an active space without 'casscf' or the other
                way round, or a number out of range.
        """
        if self.method not in METHODS:
            raise ValueError(f"pretraining method={self.method!r} must be one of {METHODS}")
        active_space(self.method, self.active_electrons, self.active_orbitals)
        if self.excitations not in EXCITATIONS:
            raise ValueError(f"pretraining excitations={self.excitations!r} must be one of {EXCITATIONS}")
        if self.steps < 0:
            raise ValueError(f"pretraining steps={self.steps} must not be negative")
        if self.sampling_steps < 1:
            raise ValueError(f"pretraining sampling_steps={self.sampling_steps} must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"pretraining learning_rate={self.learning_rate} must be positive")

    def with_basis(self, molecule: Molecule) -> "PretrainingSettings":
        """Choose the basis that was left open.

        Args:
            molecule: the system.

        Returns:
            Settings with a basis.
        """
        return self if self.basis else replace(self, basis=default_basis(molecule))


def orbital_error(orbitals: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Mean squared modulus of the difference between network and target orbitals.

    Args:
        orbitals: one matrix per spin that has electrons, shape (B, S K, n, M). Of full determinants (M > n) the
            columns of the other spin are fitted to zero.
        targets: one matrix per such spin, shape (B, S, n, n), each for K of the network's determinants: those
            of a state, or an equal share of them.

    Returns:
        The error, a scalar.
    """
    error = targets[0].new_zeros(())
    column = 0
    for matrix, target in zip(orbitals, targets, strict=True):
        n_electrons = target.shape[-1]
        if matrix.shape[-1] > n_electrons:
            wide = matrix.new_zeros(*target.shape[:-1], matrix.shape[-1])
            wide[..., column : column + n_electrons] = target
            target = wide
        matrix = matrix.unflatten(-3, (target.shape[-3], -1))  # (B, S, K, n, M)
        error = error + (matrix - target.unsqueeze(-3)).abs().square().mean()
        column += n_electrons
    return error


class Pretraining:
    """Adam on the orbital error; half of the walkers follow the targets, half the network."""

    name = "pretraining"
    order = 0

    def __init__(
        self, simulation: Simulation, mean_field: StateOrbitals | CasscfOrbitals, settings: PretrainingSettings
    ) -> None:
        """Prepare the first update.

        Args:
            simulation: wavefunction and walkers.
            mean_field: the target orbitals of as many states as the wavefunction has, or of a single state of CASSCF.
            settings: how to pretrain.
        """
        self.simulation, self.settings, self.step = simulation, settings, 0
        ansatz, walkers = simulation.ansatz, simulation.walkers.positions
        self.network: Any = getattr(ansatz, "network", ansatz)
        self.mean_field = mean_field.to(walkers.device, walkers.dtype)
        self.optimizer = torch.optim.Adam(ansatz.parameters(), lr=settings.learning_rate)
        self.sampler = replace(simulation.sampler, steps=settings.sampling_steps)

    @classmethod
    def prepare(cls, simulation: Simulation, settings: PretrainingSettings, seed: int) -> "Pretraining":
        """Compute the target orbitals and prepare to fit them.

        Args:
            simulation: wavefunction and walkers.
            settings: how to pretrain.
            seed: seed of random excitations.

        Returns:
            The stage.
        """
        basis = settings.basis or default_basis(simulation.molecule)
        space = active_space(settings.method, settings.active_electrons, settings.active_orbitals)
        if space is None:
            return cls(simulation, _hartree_fock_orbitals(simulation, settings, seed), settings)
        if getattr(simulation.ansatz, "n_states", 1) > 1:
            return cls(simulation, _casscf_states(simulation, basis, space), settings)
        return cls(simulation, _casscf_orbitals(simulation, basis, space), settings)

    def finished(self) -> bool:
        """Whether all updates have been made."""
        return self.step >= self.settings.steps

    def progress(self) -> tuple[int, int]:
        """Updates made and planned."""
        return self.step, self.settings.steps

    def log_prob(self, positions: Tensor) -> Tensor:
        """Log-probability of the mixed ensemble: the first half follows the targets, the rest the network.

        Args:
            positions: electron positions of all states, shape (B, S N, 3), in bohr.

        Returns:
            Unnormalised log-probability, shape (B,).
        """
        half = len(positions) // 2
        network = self.simulation.log_prob(positions[half:])
        return torch.cat([self.mean_field.log_prob(positions[:half]), network])

    def advance(self) -> Row:
        """Sample and make one update."""
        run: Any = self.simulation
        run.walkers, sampling = self.sampler.sweep(self.log_prob, run.walkers, run.generator)
        points = run.walkers.positions.reshape(-1, run.molecule.n_electrons, 3)  # of all states together
        with torch.no_grad():
            targets = [matrix for matrix in self.mean_field(points) if matrix.shape[-1]]
        error = orbital_error(self.network.orbitals(points), targets)
        self.optimizer.zero_grad()
        error.backward()
        self.optimizer.step()
        self.step += 1
        return {"mse": error.detach(), **sampling}

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the state of the optimiser."""
        return {"step": self.step, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])


def _hartree_fock_orbitals(simulation: Simulation, settings: PretrainingSettings, seed: int) -> StateOrbitals:
    mean_field = hartree_fock(simulation.molecule, settings.basis, settings.method)
    note = "" if mean_field.converged else " (not converged)"
    logger.info("%s/%s energy %.6f hartree%s", mean_field.method.upper(), mean_field.basis, mean_field.energy, note)
    say_unbound_orbitals(simulation.molecule, mean_field)
    n_states = getattr(simulation.ansatz, "n_states", 1)
    orbitals = excited_determinants(mean_field, n_states, settings.excitations, seed)
    if n_states > 1:
        _log_determinants(orbitals.determinants)
    return orbitals


def _casscf_states(simulation: Simulation, basis: str, space: tuple[int, int]) -> StateOrbitals:
    n_states: Any = simulation.ansatz.n_states
    ground, determinants = leading_of_roots(simulation.molecule, basis, *space, n_states)
    logger.info("CASSCF(%d,%d)/%s energy %.6f hartree", *space, basis, ground.energy)
    _log_determinants(determinants)
    return StateOrbitals(ground.basis, ground.orbitals, ground.orbitals, determinants)


def _log_determinants(determinants: Sequence[Determinant]) -> None:
    for state, (up, down) in enumerate(determinants):
        logger.info("state %d starts from orbitals %s up, %s down", state, list(up), list(down))


def _casscf_orbitals(simulation: Simulation, basis: str, space: tuple[int, int]) -> CasscfOrbitals:
    result = casscf(simulation.molecule, basis, *space, _SMALLEST_COEFFICIENT)
    note = "" if result.converged else " (not converged)"
    logger.info("CASSCF(%d,%d)/%s energy %.6f hartree%s", *space, basis, result.energy, note)
    network: Any = simulation.ansatz
    with torch.no_grad():
        matrices = network.orbitals(simulation.walkers.positions[:1])  # (1, K, n, M) each
    orbitals = CasscfOrbitals(result, matrices[0].shape[-3])
    weight = sum(c**2 for c in orbitals.coefficients)
    logger.info("its %d leading determinants, of %.4f of its norm, are the targets", len(orbitals.coefficients), weight)
    return orbitals
