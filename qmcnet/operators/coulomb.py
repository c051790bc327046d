"""Coulomb interaction of electrons and nuclei.

Letters: M points, S states, N electrons, A nuclei.
"""

import torch
from torch import Tensor, nn

from qmcnet.operators.operator import States
from qmcnet.system.molecule import Molecule


class ElectronNucleus(nn.Module):
    """Attraction of electrons and nuclei: -sum_iA Z_A / |r_i - R_A|."""

    name = "electron_nucleus"
    charges: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Keep the charges.

        Args:
            molecule: the nuclei.
        """
        super().__init__()
        self.register_buffer("charges", molecule.charges.double(), persistent=False)

    def forward(self, states: States) -> Tensor:
        """Multiply by the attraction.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        displacements = states.positions[..., :, None, :] - states.nuclei[..., None, :, :]  # (M, N, A, 3)
        distances = torch.linalg.vector_norm(displacements, dim=-1)
        return states.times(-(self.charges / distances).sum((-2, -1))[:, None])


class ElectronElectron(nn.Module):
    """Repulsion of electrons: sum_{i<j} 1 / |r_i - r_j|."""

    name = "electron_electron"

    def forward(self, states: States) -> Tensor:
        """Multiply by the repulsion.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        return states.times(inverse_distances(states.positions).sum(-1, keepdim=True))


class NucleusNucleus(nn.Module):
    """Repulsion of the nuclei, the same everywhere: sum_{A<B} Z_A Z_B / |R_A - R_B|."""

    name = "nucleus_nucleus"
    charges: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Keep the charges.

        Args:
            molecule: the nuclei.
        """
        super().__init__()
        self.register_buffer("charges", molecule.charges.double(), persistent=False)

    def forward(self, states: States) -> Tensor:
        """Multiply by the repulsion.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        i, j = pairs(self.charges)
        repulsion = (self.charges[i] * self.charges[j] * inverse_distances(states.nuclei)).sum(-1, keepdim=True)
        return states.times(repulsion.expand(len(states.psi), 1))


def pairs(particles: Tensor) -> tuple[Tensor, Tensor]:
    """List the pairs i < j.

    Args:
        particles: any tensor of n particles, shape (n, ...).

    Returns:
        Indices i and j, each (n (n - 1) / 2,), on the device of the particles.
    """
    i, j = torch.triu_indices(len(particles), len(particles), offset=1, device=particles.device)
    return i, j


def inverse_distances(positions: Tensor) -> Tensor:
    """Invert the distances of all pairs.

    Args:
        positions: shape (..., n, 3), in bohr.

    Returns:
        Shape (..., n (n - 1) / 2), in 1/bohr.
    """
    i, j = pairs(positions.movedim(-2, 0))
    return torch.linalg.vector_norm(positions[..., i, :] - positions[..., j, :], dim=-1).reciprocal()
