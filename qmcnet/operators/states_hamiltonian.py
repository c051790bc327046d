"""Local energies of several states at once.

Letters: B walkers, S states, N electrons.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137,
    arXiv:2308.16848.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qmcnet.laplacian import scaled_exp
from qmcnet.operators.coulomb import electron_electron, electron_nucleus
from qmcnet.operators.hamiltonian import LocalEnergy
from qmcnet.protocols import LaplacianBackend, StateEnsemble, Wavefunction
from qmcnet.system.molecule import Molecule


@dataclass(frozen=True)
class ScaledStates:
    """The values of all states, divided at each point by the largest among them.

    Attributes:
        network: returns sign and log_abs_psi of S states, each (B, S).
    """

    network: Wavefunction

    def __call__(self, positions: Tensor) -> Tensor:
        """Evaluate the states.

        Args:
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            psi_j / max_k |psi_k|, whose divisor is a constant for derivatives, shape (B, S).
        """
        values: Tensor = scaled_exp(*self.network(positions))[0]
        return values


class StatesHamiltonian(nn.Module):
    """The molecular Hamiltonian of each of S copies, for an ensemble of S states.

    With the matrix Psi_ij = psi_j(x^i), the local energy of natural excited states is the matrix E_L = Psi^-1 (H Psi),
    that of a product of states H Psi divided by the diagonal of Psi. The trace is the local energy of the ensemble as
    one wavefunction. Any factor of a row of Psi that H Psi has too cancels, so rows are scaled freely.
    """

    nuclei: Tensor
    charges: Tensor

    def __init__(self, molecule: Molecule, laplacian: LaplacianBackend) -> None:
        """Keep the nuclei and the way to differentiate.

        Args:
            molecule: nuclei and their charges.
            laplacian: back end that differentiates the states.
        """
        super().__init__()
        self.register_buffer("nuclei", molecule.nuclei.double(), persistent=False)
        self.register_buffer("charges", molecule.charges.double(), persistent=False)
        self.nuclear_repulsion = molecule.nuclear_repulsion
        self.laplacian = laplacian
        self._states: ScaledStates | None = None

    @torch.no_grad()
    def local_energy(self, ensemble: StateEnsemble, positions: Tensor) -> LocalEnergy:
        """Evaluate the local energy of each walker.

        Args:
            ensemble: wavefunction of all copies, whose `network` returns sign and log_abs_psi of S states.
            positions: electron positions of x^1, then of x^2, and so on, shape (B, S N, 3), in bohr.

        Returns:
            The terms of the trace, and the matrix.
        """
        # The same function at every call lets the back end remember what it learned about it.
        if self._states is None or self._states.network is not ensemble.network:
            self._states = ScaledStates(ensemble.network)
        shape = (len(positions), ensemble.n_states)
        points = positions.unflatten(-2, (ensemble.n_states, -1)).flatten(0, 1)  # (B S, N, 3)
        derivatives = self.laplacian(self._states, points)
        dtype = torch.promote_types(derivatives.value.dtype, torch.float64)
        psi, kinetic = derivatives.value.to(dtype), -0.5 * derivatives.laplacian.to(dtype)  # (B S, S)
        attraction, repulsion = self.potential(points.double())
        h_psi = kinetic + (attraction + repulsion + self.nuclear_repulsion)[:, None] * psi
        psi = psi.unflatten(0, shape)
        local = [ensemble.local_matrix(psi, operated.unflatten(0, shape)) for operated in (h_psi, kinetic)]  # (B, S, S)
        return LocalEnergy(
            kinetic=trace(local[1]),
            electron_nucleus=attraction.view(shape).sum(-1),
            electron_electron=repulsion.view(shape).sum(-1),
            nucleus_nucleus=ensemble.n_states * self.nuclear_repulsion,
            matrix=local[0],
            kinetic_matrix=local[1],
            overlap_matrix=ensemble.local_matrix(psi, psi) if ensemble.overlapping else None,
        )

    def potential(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the Coulomb terms of one copy of the molecule.

        Args:
            points: electron positions, shape (M, N, 3), in bohr.

        Returns:
            Attraction by the nuclei and repulsion of the electrons, each (M,), in hartree.
        """
        return electron_nucleus(points, self.nuclei, self.charges), electron_electron(points)


def trace(matrix: Tensor) -> Tensor:
    """Sum the diagonal.

    Args:
        matrix: shape (..., S, S).

    Returns:
        Shape (...).
    """
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)
