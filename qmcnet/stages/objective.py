"""What is minimised: the sum of the lowest energies, or weighted energies with a penalty on overlaps.

Letters: B walkers, S states.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137 (natural
    excited states);
    Wheeler, Kleiner, Wagner, arXiv:2312.00693, and Szabo, Schaetzle, Entwistle, Noe, J. Chem. Theory Comput. 20, 7922
    (2024), doi:10.1021/acs.jctc.4c00678 (penalty on overlaps, spin penalty).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from qmcnet.operators import LocalEnergy
from qmcnet.operators.spin import Spin
from qmcnet.stages.measurement import observed
from qmcnet.stages.simulation import Simulation
from qmcnet.states.natural import NaturalStates
from qmcnet.states.product import ProductStates

logger = logging.getLogger(__name__)


class Objective(Protocol):
    """Says what is sampled, and which local energies the optimiser sees."""

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the wavefunction of a run from a network of several states."""

    def __call__(self, run: Simulation, energy: LocalEnergy) -> Tensor:
        """Local energies whose covariance with the scores is the gradient, (B,) or for each state (B, S)."""


@dataclass(frozen=True)
class Natural:
    """Sum of the energies of the S lowest states, plus spin_penalty times <S^2> - s (s + 1) with 2 s = n_up - n_down.

    Attributes:
        spin_penalty: energy, in hartree, that keeps out states of higher spin; 0 is off.
    """

    spin_penalty: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: for a negative penalty.
        """
        check_not_negative("spin_penalty", self.spin_penalty)

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the wavefunction of a run.

        Args:
            network: wavefunction of one state or several.

        Returns:
            The network itself, or the total ansatz of several states.
        """
        return network if n_states(network) == 1 else NaturalStates(network)

    def __call__(self, run: Simulation, energy: LocalEnergy) -> Tensor:
        """Evaluate the local energies.

        Args:
            run: wavefunction and walkers.
            energy: their local energy.

        Returns:
            Shape (B,), in hartree.
        """
        if not self.spin_penalty:
            return energy.total
        return energy.total + self.spin_penalty * excess_spin(run).sum(-1)


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
        check_not_negative("strength", self.strength)
        check_not_negative("spin_penalty", self.spin_penalty)
        if self.weights is not None and not all(weight > 0 for weight in self.weights):
            raise ValueError(f"weights={list(self.weights)} must be positive")
        if self.weights is not None and sorted(self.weights, reverse=True) != list(self.weights):
            raise ValueError(f"weights={list(self.weights)} must not rise: the lowest state has the largest weight")

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the wavefunction of a run.

        Args:
            network: wavefunction of one state or several.

        Returns:
            The network itself, or the product of several states.

        Raises:
            ValueError: if there is not one weight for each state, or for a complex wavefunction.
        """
        count = n_states(network)
        if self.weights is not None and len(self.weights) != count:
            raise ValueError(f"objective.weights={list(self.weights)} must be one for each of the {count} states")
        if network.settings.get("complex"):  # type: ignore[union-attr,operator]
            raise ValueError("objective=penalty needs a real wavefunction: set ansatz.complex=false")
        if count == 1 and not self.spin_penalty:
            logger.warning("objective=penalty has no effect on a single state")
        return network if count == 1 else ProductStates(network)

    def __call__(self, run: Simulation, energy: LocalEnergy) -> Tensor:
        """Evaluate the local energies.

        Args:
            run: wavefunction and walkers.
            energy: their local energy.

        Returns:
            Of each state, shape (B, S), in hartree; of a single one (B,).
        """
        if energy.matrix is None or energy.overlap_matrix is None:
            return energy.total + (self.spin_penalty * excess_spin(run)[:, 0] if self.spin_penalty else 0.0)
        energies = energy.matrix.diagonal(dim1=-2, dim2=-1)
        weights = [1 / (1 + j) for j in range(energies.shape[-1])] if self.weights is None else self.weights
        # Numbers go to a device with an operation; a tensor of them would have to be copied there, and waited for.
        total = torch.stack([weight * energies[:, j] for j, weight in enumerate(weights)], -1)
        total = total + self.strength * overlap_terms(energy.overlap_matrix)
        return total + self.spin_penalty * excess_spin(run) if self.spin_penalty else total


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


def excess_spin(run: Simulation) -> Tensor:
    """Local values of S^2 - s (s + 1), which is zero for a state of the lowest spin, s = (n_up - n_down) / 2.

    Args:
        run: wavefunction and walkers.

    Returns:
        Diagonal of the local matrix, shape (B, S).
    """
    matrix = observed(run, [Spin(run.molecule)])["spin"][:, 0]
    spin = run.molecule.spin / 2
    return matrix.diagonal(dim1=-2, dim2=-1) - spin * (spin + 1)


def n_states(network: nn.Module) -> int:
    """Tell how many states a network has.

    Args:
        network: wavefunction with `settings`.

    Returns:
        Number of states S.
    """
    return int(network.settings.get("n_states", 1))  # type: ignore[union-attr,operator]


def check_not_negative(name: str, value: float) -> None:
    """Refuse a negative setting.

    Args:
        name: name of the setting.
        value: its value.

    Raises:
        ValueError: naming it.
    """
    if not value >= 0:
        raise ValueError(f"{name}={value} must be zero or positive")
