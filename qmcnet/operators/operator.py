"""What an observable is: an operator that acts on states at the points that walkers visit.

Letters: M points, S states, N electrons, C components.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from qmcnet.protocols import Wavefunction


@dataclass(frozen=True)
class StateValues:
    """Values of S states at M points.

    Attributes:
        network: returns sign and log_abs_psi of the states, each (M, S), or (M,) of one state.
        positions: electron positions, shape (M, N, 3), in bohr.
        values: the states divided by a factor common to those at a point, shape (M, S), double precision.
        shift: logarithm of that factor, shape (M,).
        generator: source of randomness, on the device of the positions.
    """

    network: Wavefunction
    positions: Tensor
    values: Tensor
    shift: Tensor
    generator: torch.Generator

    def at(self, positions: Tensor) -> Tensor:
        """Evaluate the states elsewhere, at all points at once.

        Args:
            positions: changed copies of the positions, shape (..., M, N, 3), in bohr.

        Returns:
            The states divided by the factors of the unchanged points, shape (..., M, S), double precision.
        """
        shape = (*positions.shape[:-2], self.values.shape[-1])
        sign, log_abs_psi = (part.view(shape) for part in self.network(positions.flatten(0, -3)))
        return sign.to(self.values.dtype) * torch.exp(log_abs_psi - self.shift.double()[:, None])

    def times(self, factors: Tensor) -> Tensor:
        """Multiply the states by functions of the positions.

        Args:
            factors: C functions at the points, shape (M, C).

        Returns:
            Shape (M, C, S).
        """
        return factors[..., None] * self.values[:, None]


class Observable(Protocol):
    """An operator with one or several components, usually an `nn.Module` that keeps its tensors as buffers.

    One whose components are not figures to be reported has a method `report`, which makes those and their errors out of
    expectation values over groups of walkers, (G, C), and their names as `reported`.

    Attributes:
        name: name of the observable.
        components: names of its C components.
    """

    name: str
    components: tuple[str, ...]

    def __call__(self, states: StateValues) -> Tensor:
        """Apply the operator to every state, with the rows scaled like the values, shape (M, C, S)."""
