"""Several states as one wavefunction of as many copies of the molecule: natural excited states.

Letters: B walkers, S states, N electrons.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137,
    arXiv:2308.16848.
"""

import torch
from torch import Tensor, nn

from qmcnet.laplacian import scaled_exp
from qmcnet.system.molecule import Molecule


class NaturalStates(nn.Module):
    """Total ansatz Psi(x^1, ..., x^S) = det[psi_j(x^i)] of S states psi_j, where each x^i is all N electrons.

    The ground state of S independent copies of a molecule that are antisymmetric among one another has the sum of the
    S lowest energies. It depends on the space that the states span, not on the states themselves.
    """

    overlapping = False

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network.

        Args:
            network: returns sign and log_abs_psi of S states, each (..., S), and has `molecule` and `settings`.
        """
        super().__init__()
        self.network, self.n_states = network, int(network.settings["n_states"])  # type: ignore[index]
        self.molecule: Molecule = network.molecule  # type: ignore[assignment]

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the total ansatz.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, shape (B, S N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        sign, log_abs_psi = self.network(positions.unflatten(-2, (self.n_states, -1)))  # (B, S, S)
        matrix, shift = scaled_exp(sign, log_abs_psi)
        sign, log_det = torch.linalg.slogdet(matrix)
        return sign, log_det + shift.sum(-1)

    @staticmethod
    def local_matrix(psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator: Psi^-1 (O Psi), whose average is that of <psi|psi>^-1 <psi|O|psi>.

        Args:
            psi: states j at points x^i, shape (..., S, S), rows scaled freely.
            operated: the operator applied to the same states, with the rows scaled alike, shape (..., S, S).

        Returns:
            Shape (..., S, S); not finite where the states are linearly dependent.
        """
        solution: Tensor = torch.linalg.solve_ex(psi, operated)[0]
        return solution
