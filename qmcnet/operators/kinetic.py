"""The kinetic energy of the electrons.

Letters: M points, S states.
"""

from torch import Tensor, nn

from qmcnet.operators.operator import States


class Kinetic(nn.Module):
    """-1/2 sum_i lap_i psi."""

    name = "kinetic"

    def forward(self, states: States) -> Tensor:
        """Apply the operator.

        Args:
            states: the states at M points.

        Returns:
            Shape (M, 1, S), in hartree.
        """
        return -0.5 * states.laplacian[:, None]
