"""What moves know of a molecule: its nuclei, and which electrons have which spin.

Letters: B walkers, S copies of a molecule, N electrons, A nuclei.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from qmcnet.sampling.lengths import local_lengths
from qmcnet.sampling.proposals import Draws


@dataclass(frozen=True)
class Surroundings:
    """Nuclei and spins.

    Attributes:
        nuclei: nuclear positions, shape (A, 3), in bohr.
        charges: nuclear charges Z, shape (A,).
        n_up: electrons of spin up, which come first in a copy.
        n_down: electrons of spin down.
    """

    nuclei: Tensor
    charges: Tensor
    n_up: int
    n_down: int

    def lengths(self, positions: Tensor) -> Tensor:
        """Measure how far electrons may move at their places.

        Args:
            positions: electron positions, shape (B, S N, 3), in bohr.

        Returns:
            Shape (B, S N, 1), in bohr.
        """
        return local_lengths(positions, self.nuclei, self.charges)

    def jumped(self, positions: Tensor, draws: Draws) -> Tensor:
        """Exchange two electrons of opposite spin, or take an electron from one nucleus to another.

        Both lead back as likely as they lead there. They join regions that no short move joins: spins of atoms far
        apart, and charges.

        Args:
            positions: electron positions, shape (B, S N, 3), in bohr.
            draws: random numbers of these walkers.

        Returns:
            Proposed positions, shape (B, S N, 3), in bohr.
        """
        chosen = draws.choice(2, positions)[..., None] == 0  # (B, 1, 1)
        return torch.where(chosen, self._exchanged(positions, draws), self._hopped(positions, draws))

    def _exchanged(self, positions: Tensor, draws: Draws) -> Tensor:
        if not self.n_down:
            return positions
        n_electrons = self.n_up + self.n_down
        copy = n_electrons * draws.choice(positions.shape[1] // n_electrons, positions)  # (B, 1)
        up = copy + draws.choice(self.n_up, positions)
        down = copy + self.n_up + draws.choice(self.n_down, positions)
        own = torch.arange(positions.shape[1], device=positions.device)
        places = torch.where(own == up, down, torch.where(own == down, up, own))  # (B, S N)
        return positions.take_along_dim(places[..., None], 1)

    def _hopped(self, positions: Tensor, draws: Draws) -> Tensor:
        n_nuclei = len(self.nuclei)
        if n_nuclei < 2:
            return positions
        start = draws.choice(n_nuclei, positions)
        end = (start + 1 + draws.choice(n_nuclei - 1, positions)) % n_nuclei
        nuclei = self.nuclei.to(positions.dtype)
        step = nuclei[end] - nuclei[start]  # (B, 1, 3)
        moves = torch.arange(positions.shape[1], device=positions.device) == draws.choice(positions.shape[1], positions)
        return torch.where(moves[..., None], positions + step, positions)
