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
        network: returns sign and log_abs_psi of the states.
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


class Observable(Protocol):
    """An operator with one or several components.

    Attributes:
        name: name of the observable.
        components: names of its C components.
    """

    name: str
    components: tuple[str, ...]

    def __call__(self, states: StateValues) -> Tensor:
        """Apply the operator to every state, with the rows scaled like the values, shape (M, C, S)."""
