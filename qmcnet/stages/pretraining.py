"""The pretraining stage: fit the orbitals of the network to those of Hartree-Fock, CASSCF or excited determinants.

References:
    Pfau, Spencer, Matthews, Foulkes, Phys. Rev. Research 2, 033429 (2020), doi:10.1103/PhysRevResearch.2.033429.

Letters: B walkers, S states, N electrons, K determinants, n electrons of one spin, M orbitals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qmcnet.checks import at_least, one_of, positive
from qmcnet.chemistry.casscf import active_space
from qmcnet.chemistry.determinants import Determinants
from qmcnet.chemistry.scf import default_basis
from qmcnet.chemistry.targets import EXCITATIONS, casscf_targets, mean_field_targets
from qmcnet.compute.team import team
from qmcnet.optimizers.gradient import sum_gradients
from qmcnet.stages.simulation import Simulation
from qmcnet.stages.stage import Numbers, Row, Stage, Trial
from qmcnet.states.ensemble import copies
from qmcnet.system.molecule import Molecule

METHODS = ("auto", "uhf", "rohf", "casscf")


@dataclass(frozen=True)
class PretrainingSettings:
    """How to pretrain.

    Attributes:
        steps: updates; 0 turns pretraining off.
        learning_rate: of the Adam optimiser.
        basis: Gaussian basis of the target orbitals; None is cc-pVDZ, with diffuse functions for an anion.
        method: 'uhf', 'rohf' or 'casscf'; of several states 'casscf' gives leading determinants of its lowest roots.
            'auto' takes leading determinants of a CASSCF of the valence for a ground state where they lie below UHF,
            and UHF everywhere else.
        active_electrons: electrons in the active space of 'casscf'.
        active_orbitals: orbitals in the active space of 'casscf'.
        sampling_steps: Metropolis moves between updates.
        excitations: determinants of the excited states of 'uhf' and 'rohf': 'ordered', 'random' or 'cis'.
    """

    steps: int = 1000
    learning_rate: float = 3e-4
    basis: str | None = None
    method: str = "auto"
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
        one_of(METHODS, method=self.method)
        active_space(self.method, self.active_electrons, self.active_orbitals)
        one_of(EXCITATIONS, excitations=self.excitations)
        at_least(0, steps=self.steps)
        at_least(1, sampling_steps=self.sampling_steps)
        positive(learning_rate=self.learning_rate)

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
        targets: one matrix per such spin, shape (B, T, n, n), each for an equal share of the network's determinants.

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


class Pretraining(Stage):
    """Adam on the orbital error; half of the walkers follow the targets, half the network."""

    name = "pretraining"
    table = "pretraining_stats.csv"
    may_end_early = False

    def __init__(self, simulation: Simulation, targets: Determinants, settings: PretrainingSettings) -> None:
        """Prepare the first update.

        Args:
            simulation: wavefunction and walkers.
            targets: determinants of as many states as the wavefunction has.
            settings: how to pretrain.
        """
        self.simulation, self.settings, self.step = simulation, settings, 0
        walkers = simulation.walkers.positions
        self.network: Any = simulation.ensemble.network
        self.targets = targets.to(walkers.device, walkers.dtype)
        self.optimizer = torch.optim.Adam(simulation.ensemble.parameters(), lr=settings.learning_rate)
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
        molecule, n_states = simulation.molecule, simulation.ensemble.n_states
        basis = settings.basis or default_basis(molecule)
        space = active_space(settings.method, settings.active_electrons, settings.active_orbitals)
        ensemble, point = simulation.ensemble, copies(simulation.walkers.positions[:1], n_states)[:, 0]
        with torch.no_grad():
            matrices = ensemble.network.orbitals(point, ensemble.nuclei)  # (1, S K, n, M) each
        n_determinants = matrices[0].shape[-3] // n_states
        if space is None:
            how = (basis, settings.method, n_states, settings.excitations, seed, n_determinants)
            targets = team().first(lambda: mean_field_targets(molecule, *how))
        else:
            targets = team().first(lambda: casscf_targets(molecule, basis, space, n_states, n_determinants))
        return cls(simulation, targets, settings)

    def finished(self) -> bool:
        """Whether all updates have been made."""
        return self.step >= self.settings.steps

    def progress(self) -> tuple[int, int]:
        """Updates made and planned."""
        return self.step, self.settings.steps

    def log_prob(self, positions: Tensor) -> Tensor:
        """Log-probability of the mixed ensemble: the first half follows the targets, the rest the network.

        Args:
            positions: electron positions of all states of the walkers of this process, shape (B, S N, 3), in bohr.

        Returns:
            Unnormalised log-probability, shape (B,).
        """
        half = len(range(len(self.simulation.walkers.positions) // 2)[team().own])
        halves = ((self.targets.log_prob, positions[:half]), (self.simulation.log_prob, positions[half:]))
        return torch.cat([log_prob(part) for log_prob, part in halves if len(part)])

    def advance(self) -> Row:
        """Sample and make one update."""
        run = self.simulation
        sampling = run.sweep(self.log_prob, self.sampler)
        own, count = team().share(run.walkers.positions), len(run.walkers.positions)
        points = copies(own, run.ensemble.n_states).flatten(0, 1)  # of all states together
        with torch.no_grad():
            targets = [matrix for matrix in self.targets(points) if matrix.shape[-1]]
        error = orbital_error(self.network.orbitals(points, run.ensemble.nuclei), targets) * (len(own) / count)
        self.optimizer.zero_grad()
        error.backward()
        sum_gradients(run.ensemble.parameters())
        self.optimizer.step()
        self.step += 1
        return {"mse": team().sum([error.detach()])[0], **sampling}

    def status(self, row: Numbers) -> str:
        """Say how far the orbitals are off.

        Args:
            row: statistics of an update.

        Returns:
            A few words.
        """
        return f"mse {row['mse']:.6g}  pmove {row['pmove']:.2f}"

    def trial(self, simulation: Simulation) -> Trial:
        """Prepare an update to be timed.

        Args:
            simulation: used for nothing else.

        Returns:
            It.
        """
        return Trial(Pretraining(simulation, self.targets, self.settings).advance)

    def conclude(self, folder: Path) -> Mapping[str, Any]:
        """Do nothing.

        Args:
            folder: where the result goes.

        Returns:
            Nothing for the result.
        """
        return {}

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
