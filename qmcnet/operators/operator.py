"""What acts on states: the states at the points that walkers visit, and the interface of operators.

Letters: B walkers, S states, M = B S points, N electrons, A nuclei, C components.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from qmcnet.compute.registry import Registry

Kind = TypeVar("Kind", bound=Callable[..., Any])


def no_slopes(*_: Any) -> tuple[Tensor, Tensor]:
    """Refuse to differentiate states that are known at their points alone.

    Raises:
        NotImplementedError: always.
    """
    raise NotImplementedError("these states are not known elsewhere")


@dataclass(frozen=True)
class States:
    """S states at the M points of B walkers, with their derivatives; made once a step, for all that acts on them.

    The states at a point are divided by a factor common to all of them, which every ratio of states is free of.

    Attributes:
        positions: electron positions, shape (M, N, 3), float64, in bohr.
        nuclei: nuclear positions, shape (A, 3), float64, in bohr; (M, A, 3) where each point has its own.
        psi: the states, shape (M, S), float64 or complex128.
        log_scale: logarithm of the factor that they are divided by, shape (M, 1), float64.
        log_gradient: gradient of log psi, shape (M, S, N, 3), in 1/bohr.
        log_laplacian: Laplacian of log psi, shape (M, S), in 1/bohr^2.
        at: evaluates the states elsewhere: maps changed copies of the positions, (..., M, N, 3), to the states divided
            by the factors of the unchanged points, (..., M, S); with numbers of points, (E,), copies of these alone.
        local_matrix: maps states at points x^i, (B, S, S), and columns of an operator applied to them, with the rows
            scaled alike, (B, S, K), to the local matrix, (B, S, K).
        overlap: local matrix of the identity, shape (B, S, S).
        drawn: draws random numbers for the points: maps a function that draws as many rows as it is asked for from a
            generator on the device of the positions to rows of the points, (M, ...), which do not depend on how many
            processes share the walkers.
        count: number of walkers of all processes; here are those of one.
        slopes_at: evaluates the states elsewhere with gradients: maps changed copies of some positions, (K, N, 3), the
            numbers of their points and of an electron of each, (K,), to the states, divided by the factors of the
            points, (K, S), and their gradients by the positions of these electrons, (K, S, 3), in 1/bohr.
    """

    positions: Tensor
    nuclei: Tensor
    psi: Tensor
    log_scale: Tensor
    log_gradient: Tensor
    log_laplacian: Tensor
    at: Callable[..., Tensor]
    local_matrix: Callable[[Tensor, Tensor], Tensor]
    overlap: Tensor
    drawn: Callable[[Callable[[int, torch.Generator], Tensor]], Tensor]
    count: int
    slopes_at: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = no_slopes

    @property
    def gradient(self) -> Tensor:
        """Gradient of the scaled states, shape (M, S, N, 3), in 1/bohr."""
        return self.psi[..., None, None] * self.log_gradient

    @property
    def laplacian(self) -> Tensor:
        """Laplacian of the scaled states, psi (lap log psi + (grad log psi)^2), shape (M, S), in 1/bohr^2."""
        return self.psi * (self.log_laplacian + self.log_gradient.square().sum((-2, -1)))

    def times(self, factors: Tensor) -> Tensor:
        """Multiply the states by functions of the positions.

        Args:
            factors: C functions at the points, shape (M, C).

        Returns:
            Shape (M, C, S).
        """
        return factors[..., None] * self.psi[:, None]

    def by_walker(self, points: Tensor) -> Tensor:
        """Group what belongs to points by the walkers that they are the copies of.

        Args:
            points: shape (M, ...).

        Returns:
            Shape (B, S, ...).
        """
        return points.unflatten(0, (-1, self.psi.shape[-1]))

    def sampled_gradient(self) -> Tensor:
        """Gradient of the logarithm of the function that is sampled, by the position of each point.

        Returns:
            Shape (M, N, 3), in 1/bohr.
        """
        psi = self.by_walker(self.psi)  # (B, S, S)
        unit = torch.eye(psi.shape[-1], dtype=psi.dtype, device=psi.device)
        shares = self.local_matrix(psi, unit.expand_as(psi))  # of states j in points k
        return torch.einsum("bjk,bkjnx->bknx", shares, self.by_walker(self.gradient)).flatten(0, 1)

    def local(self, operated: Tensor) -> Tensor:
        """Make local matrices of an operator.

        Args:
            operated: the operator applied to the states, shape (M, C, S).

        Returns:
            Shape (B, C, S, S).
        """
        columns = self.local_matrix(self.by_walker(self.psi), self.by_walker(operated).flatten(-2))
        return columns.unflatten(-1, operated.shape[-2:]).movedim(-2, 1)


class Operator(Protocol):
    """What acts on states, usually an `nn.Module` that keeps its tensors as buffers.

    A term of the Hamiltonian is an operator with one component, in hartree.

    Attributes:
        name: name of the operator.
    """

    name: str

    def __call__(self, states: States) -> Tensor:
        """Apply the operator to every state, with the rows scaled as those of psi, shape (M, C, S)."""


class Observable(Operator, Protocol):
    """An operator whose expectation values are reported.

    One whose components are not figures to be reported has a method `report`, which makes those and their errors out of
    expectation values over groups of walkers, (G, C), and their names as `reported`. One that does not go with every
    run has a static method `check`, which refuses those by the molecule, the number of states and the terms of the
    Hamiltonian. One of which the mixed averages of diffusion Monte Carlo mean nothing says `pure_only`.

    Attributes:
        components: names of its C components.
    """

    components: tuple[str, ...]


OBSERVABLES = Registry("qmcnet.operators")
"""What makes each observable of a molecule, by name; settings of its own have defaults."""


def observable(kind: Kind) -> Kind:
    """Make a class of observables known by its name, to configurations and to tests; a decorator.

    Args:
        kind: class with a `name`, made of a molecule.

    Returns:
        The class.
    """
    return OBSERVABLES.member(kind.name)(kind)  # type: ignore[attr-defined]
