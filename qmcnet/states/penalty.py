"""Several states sampled side by side, each from its own square, and kept apart by a penalty on overlaps.

Letters: B walkers, S states, N electrons.

References:
    Wheeler, Kleiner, Wagner, arXiv:2312.00693; Szabo, Schaetzle, Entwistle, Noe, J. Chem. Theory Comput. 20, 7922
    (2024), doi:10.1021/acs.jctc.4c00678 (penalty on overlaps, spin penalty).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.checks import at_least, positive
from qmcnet.operators import LocalEnergy, Operator
from qmcnet.operators.spin import ExcessSpin
from qmcnet.states.ensemble import LogPsi, copies, count_states, spectrum_of
from qmcnet.system.molecule import Molecule

logger = logging.getLogger(__name__)


class ProductStates(nn.Module):
    """Psi(x^1, ..., x^S) = prod_j psi_j(x^j), so that x^j follows the square of psi_j."""

    nuclei: Tensor

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network.

        Args:
            network: returns sign and log_abs_psi of S states, each (..., S), and has a `molecule`.
        """
        super().__init__()
        self.molecule: Molecule = network.molecule  # type: ignore[assignment]
        self.network, self.n_states = network, count_states(network, self.molecule)
        device = next(network.parameters()).device
        self.register_buffer("nuclei", self.molecule.nuclei.double().to(device), persistent=False)
        self.log_psi, self.spectrum = LogPsi(self), spectrum_of(self.n_states)

    def forward(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the product.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, shape (B, S N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        sign, log_abs_psi = self._own(positions)
        return sign.prod(-1), log_abs_psi.sum(-1)

    def factors(self, positions: Tensor) -> Tensor:
        """Evaluate what the scores are derivatives of.

        Args:
            positions: as for `forward`.

        Returns:
            log|psi_j| of each state at its own point, shape (B, S).
        """
        return self._own(positions)[1]

    def _own(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        sign, log_abs_psi = self.log_psi.states(copies(positions, self.n_states))  # (B, S, S)
        return sign.diagonal(dim1=-2, dim2=-1), log_abs_psi.diagonal(dim1=-2, dim2=-1)

    @staticmethod
    def local_matrix(psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator, whose average is <psi_j|O|psi_k> / <psi_j|psi_j>.

        Args:
            psi: states k at points x^j, shape (..., S, S), rows scaled freely.
            operated: operators applied to the same states, with the rows scaled alike, shape (..., S, K).

        Returns:
            (O psi_k)(x^j) / psi_j(x^j), shape (..., S, K).
        """
        return operated / psi.diagonal(dim1=-2, dim2=-1)[..., None]

    @classmethod
    def identity(cls, psi: Tensor) -> Tensor:
        """Local matrix of the identity.

        Args:
            psi: states k at points x^j, shape (B, S, S), rows scaled freely.

        Returns:
            psi_k(x^j) / psi_j(x^j), shape (B, S, S).
        """
        return cls.local_matrix(psi, psi)

    @staticmethod
    def overlaps(mean: NDArray[Any], vectors: NDArray[Any], points: NDArray[Any] | None) -> NDArray[Any] | None:
        """Tell the overlaps of the network's states, which the objective penalises.

        Args:
            mean: mean local matrix of the identity, shape (S, S).
            vectors: eigenvectors of the energy as columns, shape (S, S).
            points: states at points of the walkers, rows scaled freely, shape (M, S); None if none were kept.

        Returns:
            Moduli, one on the diagonal, shape (S, S).
        """
        moduli: NDArray[Any] = np.sqrt(np.abs(mean * mean.T))
        return moduli


@dataclass(frozen=True)
class Penalty:
    """sum_j w_j E_j + strength sum_{j<k} |S_jk|^2, with the overlap S_jk of normalised states, plus the spin penalty.

    <psi_j|psi_k> / <psi_j|psi_j> is the mean over the walkers of psi_j of psi_k / psi_j. The square of S_jk is the
    product of two such means over different walkers, so that it and its gradient have no bias.

    The exact states, in order, are a minimum if strength > w_j w_k (E_k - E_j) / (w_j - w_k) for all j < k. With equal
    weights they never are: at the minimum states of the same space overlap, two of them by (E_k - E_j) / (2 strength).

    Attributes:
        strength: energy, in hartree, to be larger than the highest excitation energy.
        weights: w_j of each state; those that fall with j order the states. None is 1 / (1 + j), for which strength has
            to be larger than (E_k - E_j) / (k - j) for all j < k.
        spin_penalty: energy, in hartree, that keeps out states of higher spin; 0 is off.
    """

    strength: float = 2.0
    weights: Sequence[float] | None = None
    spin_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a negative penalty, or weights that are not positive or rise.
        """
        at_least(0, strength=self.strength, spin_penalty=self.spin_penalty)
        if self.weights is not None:
            positive(**{f"weights[{j}]": weight for j, weight in enumerate(self.weights)})
            if sorted(self.weights, reverse=True) != list(self.weights):
                raise ValueError(f"weights={list(self.weights)} must not rise: the lowest state has the largest weight")

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the sampled function of a run.

        Args:
            network: wavefunction of S states.

        Returns:
            Their product.

        Raises:
            ValueError: if there is not one weight for each state, or for a complex wavefunction.
        """
        product = ProductStates(network)
        if self.weights is not None and len(self.weights) != product.n_states:
            count = product.n_states
            raise ValueError(f"objective.weights={list(self.weights)} must be one for each of the {count} states")
        if network.settings.get("complex"):  # type: ignore[union-attr,operator]
            raise ValueError("objective=penalty needs a real wavefunction: set ansatz.complex=false")
        if product.n_states < 2 and not self.spin_penalty:
            logger.warning("objective=penalty has no effect on a single state")
        return product

    def penalties(self, molecule: Molecule) -> tuple[Operator, ...]:
        """Say what is minimised besides the energies and overlaps.

        Args:
            molecule: the system.

        Returns:
            The spin penalty, if there is one.
        """
        return (ExcessSpin(molecule, self.spin_penalty),) if self.spin_penalty else ()

    def __call__(self, energy: LocalEnergy, penalties: Sequence[Tensor]) -> Tensor:
        """Evaluate the local energies.

        Args:
            energy: of the walkers.
            penalties: local matrices of the penalties, each (B, S, S), in hartree.

        Returns:
            Of each state, shape (B, S), in hartree.
        """
        energies = energy.matrix.diagonal(dim1=-2, dim2=-1)
        weights = [1 / (1 + j) for j in range(energies.shape[-1])] if self.weights is None else self.weights
        # Numbers go to a device with an operation; a tensor of them would have to be copied there, and waited for.
        total = torch.stack([weight * energies[:, j] for j, weight in enumerate(weights)], -1)
        total = total + self.strength * overlap_terms(energy.overlap)
        return sum((penalty.diagonal(dim1=-2, dim2=-1) for penalty in penalties), total)


def overlap_terms(ratios: Tensor) -> Tensor:
    """Local quantity whose covariance with the scores of psi_j is half the gradient of sum_k |S_jk|^2.

    Args:
        ratios: psi_k(x^j) / psi_j(x^j), shape (B, S, S).

    Returns:
        sum_k <psi_j / psi_k>_k psi_k / psi_j, whose term k = j is one everywhere, shape (B, S).
    """
    finite = ratios.isfinite().all(-1).all(-1)
    mean = torch.where(finite[:, None, None], ratios, 0).sum(0) / finite.sum().clamp(min=1)  # (S, S)
    return (mean.mT * ratios).sum(-1)
