"""What every stage of a run shares: the wavefunction, the Hamiltonian and the walkers."""

import logging
import zlib
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from qmcnet.compute import kernels
from qmcnet.compute.chunks import Chunks
from qmcnet.compute.compilation import Compiled
from qmcnet.operators import LocalEnergy
from qmcnet.protocols import LaplacianBackend
from qmcnet.sampling import Metropolis, Walkers, initial_positions
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


class Hamiltonian(Protocol):
    """Gives the local energy of a wavefunction of the kind it is made for.

    Attributes:
        laplacian: back end that differentiates.
    """

    laplacian: LaplacianBackend

    def local_energy(self, wavefunction: Any, positions: Tensor, /) -> LocalEnergy:
        """Evaluate the local energy at positions (B, N, 3) in bohr."""

    def to(self, device: torch.device, /) -> Self:
        """Move to a device."""


@dataclass
class Simulation:
    """Wavefunction, Hamiltonian, sampler and walkers, and the one source of randomness.

    Attributes:
        molecule: the system.
        ansatz: the wavefunction, maps positions to (sign, log_abs_psi).
        hamiltonian: gives the local energy.
        sampler: moves the walkers.
        walkers: the ensemble.
        generator: source of all random numbers, on the device of the walkers.
        compile: whether the wavefunction is compiled for sampling.
    """

    molecule: Molecule
    ansatz: nn.Module
    hamiltonian: Hamiltonian
    sampler: Metropolis
    walkers: Walkers
    generator: torch.Generator
    compile: bool = False

    def __post_init__(self) -> None:
        """Prepare what may be compiled."""
        self._compiled = Compiled(lambda positions: (2 * self.ansatz(positions)[1],), "wavefunction")
        self.chunks = Chunks("walkers moved at once")

    @classmethod
    def start(
        cls,
        ansatz: nn.Module,
        hamiltonian: Hamiltonian,
        sampler: Metropolis,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> "Simulation":
        """Move everything to a device and place the walkers on atomic shells.

        Args:
            ansatz: the wavefunction, with a `molecule`; one with `n_states` takes the positions of as many copies.
            hamiltonian: gives the local energy.
            sampler: moves the walkers.
            batch_size: number of walkers.
            seed: seed of the run.
            device: where to compute.

        Returns:
            A simulation ready for its first stage.
        """
        molecule: Molecule = ansatz.molecule  # type: ignore[assignment]
        generator = torch.Generator(device).manual_seed(seed)
        dtype = next(ansatz.parameters()).dtype
        n_copies = getattr(ansatz, "n_states", 1)
        positions = initial_positions(molecule, batch_size * n_copies, generator, dtype, device)
        walkers = sampler.start(positions.reshape(batch_size, -1, 3))
        return cls(molecule, ansatz.to(device), hamiltonian.to(device), sampler, walkers, generator)

    def log_prob(self, positions: Tensor) -> Tensor:
        """Log-probability that the walkers follow, 2 log|psi|.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            Unnormalised log-probability, shape (B,).
        """
        compiled = (lambda part: self._compiled(part)[0]) if self.compile else self._log_prob
        return self.chunks.map(compiled, self._log_prob, positions)

    def _log_prob(self, positions: Tensor) -> Tensor:
        with torch.inference_mode():
            log_prob: Tensor = 2 * self.ansatz(positions)[1]
        return log_prob.clone()  # outside of inference mode, so that it may be used anywhere

    def finite(self) -> bool:
        """Whether every parameter and every position is finite."""
        tensors = [*self.ansatz.parameters(), self.walkers.positions]
        return bool(torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).isfinite().all())

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes while the simulation runs."""
        return {
            "ansatz": self.ansatz.state_dict(),
            "walkers": self.walkers.to_state(),
            "generator": self.generator.get_state(),
            "cpu_kernels": kernels.library(),
            "chunks": {"sampling": dict(self.chunks.sizes), "laplacian": dict(self._laplacian_chunks())},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state.

        Args:
            state: what `state_dict` returned.
        """
        self.ansatz.load_state_dict(state["ansatz"])
        device = self.walkers.positions.device
        self.walkers = Walkers.from_state({name: value.to(device) for name, value in state["walkers"].items()})
        self._continue_random_numbers(state["generator"].cpu())
        kernels.use_library(state.get("cpu_kernels", "onednn"))  # by which every processor multiplied at first
        chunks = state.get("chunks", {"sampling": {}, "laplacian": {}})
        self.chunks.sizes |= chunks["sampling"]
        self._laplacian_chunks().update(chunks["laplacian"])

    def _laplacian_chunks(self) -> dict[str, int]:
        recorded: dict[str, int] = getattr(self.hamiltonian.laplacian, "recorded", {})  # not every back end has any
        return recorded

    def _continue_random_numbers(self, state: Tensor) -> None:
        if state.shape == self.generator.get_state().shape:
            self.generator.set_state(state)
            return
        logger.warning("the checkpoint comes from another kind of device: a new stream of random numbers starts")
        self.generator.manual_seed(zlib.crc32(state.numpy().tobytes()))
