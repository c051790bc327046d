"""The square of the total spin, by exchange of electrons.

Letters: M points, S states, N electrons.

References:
    Szabo, Schaetzle, Entwistle, Noe (2024), arXiv:2405.17089.
"""

import torch
from torch import Tensor, nn

from qmcnet.molecule import Molecule
from qmcnet.observables.observable import StateValues


class Spin(nn.Module):
    """S^2 psi = [S_z (S_z + 1) + n_down] psi - sum_ab psi(r_a <-> r_b) over spin-up a and spin-down b.

    The states are those parts of antisymmetric functions where the first n_up electrons have spin up, so exchanging
    the positions of two electrons is exchanging their spins, with a minus sign. Each of the n_up n_down exchanges
    evaluates the states at all points.
    """

    name = "spin"
    components: tuple[str, ...] = ("s_squared",)

    def __init__(self, molecule: Molecule) -> None:
        """Count the electrons.

        Args:
            molecule: numbers of spin-up and spin-down electrons.
        """
        super().__init__()
        self.n_up, self.n_down = molecule.n_up, molecule.n_down

    def forward(self, states: StateValues) -> Tensor:
        """Apply S^2.

        Args:
            states: values of the states at M points.

        Returns:
            S^2 psi, shape (M, 1, S).
        """
        s_z = (self.n_up - self.n_down) / 2
        result = (s_z * (s_z + 1) + self.n_down) * states.values
        order = torch.arange(self.n_up + self.n_down, device=states.positions.device)
        for a in range(self.n_up):
            for b in range(self.n_up, self.n_up + self.n_down):
                exchanged = order.clone()
                exchanged[a], exchanged[b] = b, a
                result = result - states.at(states.positions[:, exchanged])
        return result[:, None]
