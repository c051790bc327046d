"""Jastrow factors by name."""

from collections.abc import Callable

from torch import nn

from qmcnet.ansatz.cusp import ElectronCusp
from qmcnet.ansatz.neural_jastrow import NeuralJastrow
from qmcnet.system.molecule import Molecule

JASTROWS: dict[str, Callable[[Molecule], nn.Module | None]] = {
    "none": lambda molecule: None,
    "cusp": ElectronCusp,
    "neural": NeuralJastrow,
}
"""Makers of Jastrow factors, called with distances (B, N, A) to nuclei and (B, N, N) between electrons."""
