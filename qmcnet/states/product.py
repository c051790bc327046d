"""Several states sampled side by side, each from its own square: the ensemble of penalty methods.

Letters: B walkers, S states, N electrons.

References:
    Wheeler, Kleiner, Wagner, arXiv:2312.00693; Szabo, Schaetzle, Entwistle, Noe, J. Chem. Theory Comput. 20, 7922
    (2024), doi:10.1021/acs.jctc.4c00678.
"""

from torch import Tensor, nn

from qmcnet.system.molecule import Molecule


class ProductStates(nn.Module):
    """Psi(x^1, ..., x^S) = prod_j psi_j(x^j), so that x^j follows the square of psi_j."""

    overlapping = True

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network.

        Args:
            network: returns sign and log_abs_psi of S states, each (..., S), and has `molecule` and `settings`.
        """
        super().__init__()
        self.network, self.n_states = network, int(network.settings["n_states"])  # type: ignore[index]
        self.molecule: Molecule = network.molecule  # type: ignore[assignment]

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the product.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, shape (B, S N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        sign, log_abs_psi = self.factors(positions)
        return sign.prod(-1), log_abs_psi.sum(-1)

    def factors(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate every state at its own positions.

        Args:
            positions: as for `forward`.

        Returns:
            sign and log_abs_psi of psi_j(x^j), each (B, S).
        """
        sign, log_abs_psi = self.network(positions.unflatten(-2, (self.n_states, -1)))  # (B, S, S)
        return sign.diagonal(dim1=-2, dim2=-1), log_abs_psi.diagonal(dim1=-2, dim2=-1)

    @staticmethod
    def local_matrix(psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator, whose average is <psi_j|O|psi_k> / <psi_j|psi_j>.

        Args:
            psi: states k at points x^j, shape (..., S, S), rows scaled freely.
            operated: the operator applied to the same states, with the rows scaled alike, shape (..., S, S).

        Returns:
            (O psi_k)(x^j) / psi_j(x^j), shape (..., S, S).
        """
        return operated / psi.diagonal(dim1=-2, dim2=-1)[..., None]
