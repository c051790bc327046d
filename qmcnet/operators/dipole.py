"""The electric dipole moment.

Letters: M points, S states, N electrons, A nuclei.
"""

from torch import Tensor, nn

from qmcnet.operators.operator import StateValues
from qmcnet.system.molecule import Molecule


class Dipole(nn.Module):
    """mu = sum_A Z_A R_A - sum_i r_i about the origin of the coordinates, in e bohr, from - to +.

    The dipole moment of an ion depends on the origin; that of a neutral molecule and transition dipoles between
    orthogonal states do not.
    """

    name = "dipole"
    components: tuple[str, ...] = ("x", "y", "z")
    nuclear: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Sum up the nuclei.

        Args:
            molecule: nuclei and their charges.
        """
        super().__init__()
        self.register_buffer("nuclear", molecule.charges @ molecule.nuclei, persistent=False)

    def forward(self, states: StateValues) -> Tensor:
        """Multiply by the dipole moment.

        Args:
            states: values of the states at M points.

        Returns:
            mu psi, shape (M, 3, S), in e bohr.
        """
        return states.times(self.nuclear - states.positions.double().sum(-2))
