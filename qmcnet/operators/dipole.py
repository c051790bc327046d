"""The electric dipole moment.

Letters: M points, S states, N electrons, A nuclei.
"""

from torch import Tensor, nn

from qmcnet.operators.operator import States, observable
from qmcnet.system.molecule import Molecule


@observable
class Dipole(nn.Module):
    """mu = sum_A Z_A R_A - sum_i r_i about the origin of the coordinates, in e bohr, from - to +.

    The dipole moment of an ion depends on the origin; that of a neutral molecule and transition dipoles between
    orthogonal states do not.
    """

    name = "dipole"
    components: tuple[str, ...] = ("x", "y", "z")
    charges: Tensor

    def __init__(self, molecule: Molecule) -> None:
        """Keep the charges.

        Args:
            molecule: nuclei and their charges.
        """
        super().__init__()
        self.register_buffer("charges", molecule.charges.double(), persistent=False)

    def forward(self, states: States) -> Tensor:
        """Multiply by the dipole moment.

        Args:
            states: the states at M points.

        Returns:
            mu psi, shape (M, 3, S), in e bohr.
        """
        return states.times(self.charges @ states.nuclei - states.positions.sum(-2))
