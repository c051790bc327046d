"""Jastrow factors by name."""

from qmcnet.compute.registry import Registry
from qmcnet.system.molecule import Molecule

JASTROWS = Registry("qmcnet.ansatz")
"""Makers of Jastrow factors, from the molecule; called with distances (B, N, A) to nuclei and (B, N, N) between
electrons they return J, (B,)."""


@JASTROWS.member("none")
def no_jastrow(molecule: Molecule) -> None:
    """Make none.

    Args:
        molecule: the system.
    """
