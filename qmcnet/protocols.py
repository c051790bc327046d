"""Interfaces that let the rooms of the package meet without importing one another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

LogProbability = Callable[[Tensor], Tensor]
"""Maps positions (B, N, 3) in bohr to an unnormalised log-probability (B,)."""


@dataclass(frozen=True)
class Derivatives:
    """Value, gradient and Laplacian of a real or complex function of all electron positions.

    Attributes:
        value: the function, shape (B, ...).
        gradient: first derivatives, shape (B, ..., N, 3), in 1/bohr.
        laplacian: trace of the Hessian over all 3N coordinates, shape (B, ...), in 1/bohr^2.
    """

    value: Tensor
    gradient: Tensor
    laplacian: Tensor


class LaplacianBackend(Protocol):
    """Computes a function of the electron positions together with its first and second derivatives."""

    def __call__(self, function: Callable[[Tensor], Tensor], positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        Args:
            function: maps positions (B, N, 3) to values (B, ...), written in torch functions.
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            The value, gradient and Laplacian at each walker.
        """


class Wavefunction(Protocol):
    """An antisymmetric function of the electron positions, real or complex, or several."""

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.

        Returns:
            sign, the phase psi / |psi| of a complex wavefunction, and log_abs_psi, real; each (B,), or (B, S) of
            several states.
        """


class StateEnsemble(Protocol):
    """One wavefunction made of several states of a molecule.

    Attributes:
        network: evaluates all states.
        n_states: their number S.
        overlapping: whether the local matrix of the identity is another than the identity.
    """

    network: Wavefunction
    n_states: int
    overlapping: bool

    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions of S copies of the molecule, shape (B, S N, 3), in bohr.

        Returns:
            sign (B,) and log_abs_psi (B,).
        """

    def local_matrix(self, psi: Tensor, operated: Tensor) -> Tensor:
        """Local matrix of an operator, from states j at points x^i and O psi_j at x^i, shape (..., S, S)."""
