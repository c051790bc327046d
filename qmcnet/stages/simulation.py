"""What every stage of a run shares: the states, the Hamiltonian and the walkers."""

import logging
import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qmcnet.compute import kernels
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.compilation import Compiled
from qmcnet.compute.team import team
from qmcnet.operators import LocalEnergy, MolecularHamiltonian, States
from qmcnet.protocols import LaplacianBackend, LogProbability
from qmcnet.sampling import Metropolis, Walkers, initial_positions
from qmcnet.sampling.surroundings import Surroundings
from qmcnet.states.ensemble import states_at
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


@dataclass
class Simulation:
    """S states and their walkers, how local energies are found, and the one source of randomness.

    Attributes:
        ensemble: the states as one sampled function.
        hamiltonian: gives the local energy.
        laplacian: back end that differentiates.
        sampler: moves the walkers.
        walkers: the ensemble of walkers, each with the positions of as many copies of the molecule as there are states;
            all of them, however many processes share the work.
        generator: source of all random numbers, on the device of the walkers, in the same state in every process.
        compile: whether the wavefunction is compiled for sampling.
    """

    ensemble: Any
    hamiltonian: MolecularHamiltonian
    laplacian: LaplacianBackend
    sampler: Metropolis
    walkers: Walkers
    generator: torch.Generator
    compile: bool = False

    def __post_init__(self) -> None:
        """Prepare what may be compiled, and what moves need to know of the nuclei."""
        molecule, charges = self.molecule, self.molecule.charges.to(self.walkers.positions.device)
        self._surroundings = Surroundings(self.ensemble.nuclei, charges, molecule.n_up, molecule.n_down)
        self._compiled = Compiled(lambda positions: (2 * self.ensemble(positions)[1],), "wavefunction")
        self.chunks = Chunks("walkers moved at once")

    @property
    def limited(self) -> bool:
        """Whether the wavefunction says that its variance does not tell how far its energy is from the exact one."""
        return bool(getattr(self.ensemble.network, "limited", False))

    @classmethod
    def start(
        cls,
        ensemble: Any,
        hamiltonian: MolecularHamiltonian,
        laplacian: LaplacianBackend,
        sampler: Metropolis,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> "Simulation":
        """Move everything to a device and place the walkers on atomic shells.

        Args:
            ensemble: the states.
            hamiltonian: gives the local energy.
            laplacian: back end that differentiates.
            sampler: moves the walkers.
            batch_size: number of walkers.
            seed: seed of the run.
            device: where to compute.

        Returns:
            A simulation ready for its first stage.

        Raises:
            ValueError: if there are more processes than walkers.
        """
        if team().size > batch_size:
            raise ValueError(f"batch_size={batch_size} must be at least {team().size}, a walker for each process")
        generator = torch.Generator(device).manual_seed(seed)
        dtype = next(ensemble.parameters()).dtype
        positions = initial_positions(ensemble.molecule, batch_size * ensemble.n_states, generator, dtype, device)
        walkers = sampler.start(positions.reshape(batch_size, -1, 3))
        return cls(ensemble.to(device), hamiltonian.to(device), laplacian, sampler, walkers, generator)

    @property
    def molecule(self) -> Molecule:
        """The system."""
        molecule: Molecule = self.ensemble.molecule
        return molecule

    def sweep(
        self, log_prob: LogProbability | None = None, sampler: Metropolis | None = None, adapt: bool = True
    ) -> dict[str, Tensor]:
        """Move the walkers.

        Args:
            log_prob: what they follow instead of the ensemble.
            sampler: what moves them instead of the sampler of the run.
            adapt: whether the width of the moves follows the accepted fraction.

        Returns:
            Statistics of the moves.
        """
        moves, followed = sampler or self.sampler, log_prob or self.log_prob
        self.walkers, stats = moves.sweep(followed, self.walkers, self.generator, adapt, self._surroundings)
        return stats

    def states(self, own: Tensor | None = None, numbers: Tensor | None = None) -> States:
        """Evaluate all states at the walkers of this process, with their derivatives.

        Args:
            own: where they are, shape (b, S N, 3), in bohr; where this simulation has them by default.
            numbers: of some walkers among those of this process, (b,), if not all are there.

        Returns:
            The states.
        """
        positions = self.walkers.positions
        places = team().share(positions) if own is None else own
        source, count = self.generator, len(positions)
        return states_at(self.ensemble, places, self.laplacian, source, count, numbers)

    def local_energy(self, states: States) -> LocalEnergy:
        """Evaluate the local energy, and bring together what all processes find.

        Args:
            states: at the walkers of this process.

        Returns:
            The local energy of all walkers.
        """
        own = self.hamiltonian(states)
        overlap, *terms = team().gather([own.overlap, *own.terms.values()], states.count)
        return LocalEnergy(dict(zip(own.terms, terms, strict=True)), overlap)

    def log_prob(self, positions: Tensor) -> Tensor:
        """Log-probability that the walkers follow, 2 log|psi|.

        Args:
            positions: electron positions of walkers of this process, shape (B, N, 3), in bohr.

        Returns:
            Unnormalised log-probability, shape (B,).
        """
        compiled = (lambda part: self._compiled(part)[0]) if self.compile else self._log_prob
        return self.chunks.map(compiled, self._log_prob, positions)

    def _log_prob(self, positions: Tensor) -> Tensor:
        with torch.inference_mode():
            log_prob: Tensor = 2 * self.ensemble(positions)[1]
        return log_prob.clone()  # outside of inference mode, so that it may be used anywhere

    def finite(self) -> bool:
        """Whether every parameter and every position is finite."""
        tensors = [*self.ensemble.parameters(), self.walkers.positions]
        return bool(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes while the simulation runs."""
        return {
            "ansatz": self.ensemble.state_dict(),
            "walkers": self.walkers.to_state(),
            "generator": self.generator.get_state(),
            "cpu_kernels": kernels.library(),
            "chunks": {
                "sampling": self.chunks.state_dict(),
                "laplacian": dict(self._laplacian_chunks()),
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.ensemble.load_state_dict(state["ansatz"])
        device = self.walkers.positions.device
        self.walkers = Walkers.from_state({name: value.to(device) for name, value in state["walkers"].items()})
        self._continue_random_numbers(state["generator"].cpu())
        kernels.use_library(state.get("cpu_kernels", "onednn"))  # by which every processor multiplied at first
        chunks = state.get("chunks", {"sampling": {}, "laplacian": {}})
        self.chunks.load_state_dict(chunks["sampling"])
        self._laplacian_chunks().update(chunks["laplacian"])

    def _laplacian_chunks(self) -> dict[str, int]:
        recorded: dict[str, int] = getattr(self.laplacian, "recorded", {})  # not every back end has any
        return recorded

    def _continue_random_numbers(self, state: Tensor) -> None:
        if state.shape == self.generator.get_state().shape:
            self.generator.set_state(state)
            return
        logger.warning("the checkpoint comes from another kind of device: a new stream of random numbers starts")
        self.generator.manual_seed(zlib.crc32(state.numpy().tobytes()))
