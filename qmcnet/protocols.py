"""Interfaces that let the rooms of the package meet without importing one another."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

LogProbability = Callable[[Tensor], Tensor]
"""Maps positions (B, N, 3) in bohr to an unnormalised log-probability (B,)."""

Function = Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]
"""Maps positions (B, N, 3) to values (B, ...), or to these and a tensor (B, ...) that is not differentiated."""


@dataclass(frozen=True)
class Derivatives:
    """Value, gradient and Laplacian of a real or complex function of all electron positions.

    Attributes:
        value: the function, shape (B, ...).
        gradient: first derivatives, shape (B, ..., N, 3), in 1/bohr.
        laplacian: trace of the Hessian over all 3N coordinates, shape (B, ...), in 1/bohr^2.
        extra: what the function returned besides, which is not differentiated, shape (B, ...).
    """

    value: Tensor
    gradient: Tensor
    laplacian: Tensor
    extra: Tensor | None = None


class LaplacianBackend(Protocol):
    """Computes a function of the electron positions together with its first and second derivatives."""

    def __call__(self, function: Function, positions: Tensor) -> Derivatives:
        """Differentiate a function of the positions.

        Args:
            function: maps positions (B, N, 3) to values (B, ...), written in torch functions, or to these and a
                tensor (B, ...) that is carried along, not differentiated.
            positions: electron positions, shape (B, N, 3), in bohr.

        Returns:
            The value, gradient and Laplacian at each walker.
        """


class Wavefunction(Protocol):
    """S >= 1 antisymmetric functions of the electron positions, real or complex."""

    def __call__(self, positions: Tensor, nuclei: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the wavefunction.

        Args:
            positions: electron positions, spin-up electrons first, shape (B, N, 3), in bohr.
            nuclei: nuclear positions, shape (A, 3), in bohr; (B, A, 3) where they differ between walkers:
                `positions[..., :, None, :] - nuclei[..., None, :, :]` takes both.

        Returns:
            sign, the phase psi / |psi| of a complex wavefunction, and log_abs_psi, real; each (B, S), or (B,) of a
            single state.
        """
