"""The square of the total spin, by exchange of electrons.

Letters: M points, S states, N electrons.

References:
    Szabo, Schaetzle, Entwistle, Noe (2024), arXiv:2405.17089.
"""

import torch
from torch import Tensor, nn

from qmcnet.operators.operator import States, observable
from qmcnet.system.molecule import Molecule

MOST_PAIRS = 2**20
"""Pairs of electrons, over all points and exchanges, that are evaluated at once; features of pairs take most memory."""


@observable
class Spin(nn.Module):
    """S^2 psi = [S_z (S_z + 1) + n_down] psi - sum_ab psi(r_a <-> r_b) over spin-up a and spin-down b.

    The states are those parts of antisymmetric functions where the first n_up electrons have spin up, so exchanging
    the positions of two electrons is exchanging their spins, with a minus sign. Each of the n_up n_down exchanges
    evaluates the states at all points; as many of them at once as memory is good for.
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

    def forward(self, states: States) -> Tensor:
        """Apply S^2.

        Args:
            states: the states at M points.

        Returns:
            S^2 psi, shape (M, 1, S).
        """
        s_z = (self.n_up - self.n_down) / 2
        result = (s_z * (s_z + 1) + self.n_down) * states.psi
        at_once = max(1, MOST_PAIRS // (len(states.positions) * (self.n_up + self.n_down) ** 2))
        exchanges = self.exchanges(states.positions.device)
        for start in range(0, len(exchanges), at_once):
            exchanged = states.positions[:, exchanges[start : start + at_once]].movedim(1, 0)  # (E, M, N, 3)
            result = result - states.at(exchanged).sum(0)
        return result[:, None]

    def exchanges(self, device: torch.device) -> Tensor:
        """List the orders of the electrons in which one with spin up and one with spin down have changed places.

        Args:
            device: where the walkers are.

        Returns:
            Indices of electrons, shape (n_up n_down, N).
        """
        pair = torch.arange(self.n_up * self.n_down, device=device)[:, None]
        up, down = pair // max(self.n_down, 1), self.n_up + pair % max(self.n_down, 1)
        order = torch.arange(self.n_up + self.n_down, device=device)
        return torch.where(order == up, down, torch.where(order == down, up, order))


class ExcessSpin(nn.Module):
    """A penalty: strength (S^2 - s (s + 1)), zero for a state of the lowest spin, s = (n_up - n_down) / 2."""

    name = "spin_penalty"

    def __init__(self, molecule: Molecule, strength: float) -> None:
        """Keep the strength.

        Args:
            molecule: numbers of spin-up and spin-down electrons.
            strength: in hartree.
        """
        super().__init__()
        self.spin, self.strength = Spin(molecule), strength
        self.lowest = molecule.spin / 2 * (molecule.spin / 2 + 1)

    def forward(self, states: States) -> Tensor:
        """Apply the penalty.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        spin: Tensor = self.spin(states)
        return self.strength * (spin - self.lowest * states.psi[:, None])
