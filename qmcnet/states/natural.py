"""Natural excited states: several states as one wavefunction of as many copies of the molecule.

Letters: B walkers, S states, N electrons, G functions of a walker.

References:
    Pfau, Axelrod, Sutterud, von Glehn, Spencer, Science 385, eadn0137 (2024), doi:10.1126/science.adn0137,
    arXiv:2308.16848.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qmcnet.checks import at_least
from qmcnet.laplacian import scaled_exp
from qmcnet.operators import LocalEnergy, Operator
from qmcnet.operators.hamiltonian import trace
from qmcnet.operators.spin import ExcessSpin
from qmcnet.states.ensemble import LogPsi, copies, count_states, spectrum_of
from qmcnet.statistics.eigenstates import overlap_of_states
from qmcnet.system.molecule import Molecule


class NaturalStates(nn.Module):
    """Total ansatz Psi(x^1, ..., x^S) = det[psi_j(x^i)] of S states psi_j, where each x^i is all N electrons.

    The ground state of S independent copies of a molecule that are antisymmetric among one another has the sum of the
    S lowest energies. It depends on the space that the states span, not on the states themselves. With one state it is
    that state.
    """

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
        """Evaluate the total ansatz.

        Args:
            positions: electron positions of x^1, then of x^2, and so on, shape (B, S N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """
        matrix, shift = scaled_exp(*self.log_psi.states(copies(positions, self.n_states)))  # (B, S, S), (B, S)
        sign, log_det = torch.linalg.slogdet(matrix)
        return sign, log_det + shift.sum(-1)

    def factors(self, positions: Tensor) -> Tensor:
        """Evaluate what the scores are derivatives of.

        Args:
            positions: as for `forward`.

        Returns:
            log|psi|, and arg psi if the wavefunction is complex, shape (B, G).
        """
        sign, log_abs_psi = self(positions)
        return torch.stack([log_abs_psi, sign.angle()] if sign.is_complex() else [log_abs_psi], -1)

    @staticmethod
    def local_matrix(psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator: Psi^-1 (O Psi), whose average is that of <psi|psi>^-1 <psi|O|psi>.

        Args:
            psi: states j at points x^i, shape (..., S, S), rows scaled freely.
            operated: operators applied to the same states, with the rows scaled alike, shape (..., S, K).

        Returns:
            Shape (..., S, K); not finite where the states are linearly dependent.
        """
        solution: Tensor = torch.linalg.solve_ex(psi, operated)[0]
        return solution

    @staticmethod
    def identity(psi: Tensor) -> Tensor:
        """Local matrix of the identity, which is one.

        Args:
            psi: states j at points x^i, shape (B, S, S).

        Returns:
            Shape (B, S, S).
        """
        return torch.eye(psi.shape[-1], dtype=psi.dtype, device=psi.device).expand_as(psi)

    @staticmethod
    def overlaps(mean: NDArray[Any], vectors: NDArray[Any], points: NDArray[Any] | None) -> NDArray[Any] | None:
        """Estimate the overlaps of the eigenstates; the local matrix of the identity is one, and says nothing of them.

        Args:
            mean: mean local matrix of the identity, shape (S, S).
            vectors: eigenvectors of the energy as columns, shape (S, S).
            points: states at points of the walkers, rows scaled freely, shape (M, S); None if none were kept.

        Returns:
            Moduli, one on the diagonal, shape (S, S); None without points.
        """
        return None if points is None else overlap_of_states(points, vectors)


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
        at_least(0, spin_penalty=self.spin_penalty)

    def ensemble(self, network: nn.Module) -> nn.Module:
        """Make the sampled function of a run.

        Args:
            network: wavefunction of S states.

        Returns:
            Their total ansatz.
        """
        return NaturalStates(network)

    def penalties(self, molecule: Molecule) -> tuple[Operator, ...]:
        """Say what is minimised besides the energy.

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
            The local energy, or its real and imaginary part, shape (B, G), in hartree.
        """
        total = sum(map(trace, penalties), energy.total)
        return torch.view_as_real(total) if total.is_complex() else total[:, None]
