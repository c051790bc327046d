"""Neural-network quantum Monte Carlo in PyTorch."""

from qmcnet.ansatz import FermiNet
from qmcnet.config import build, load
from qmcnet.hamiltonian import LocalEnergy, MolecularHamiltonian
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.molecule import Molecule
from qmcnet.optimizers import FirstOrder, Spring
from qmcnet.sampling import Metropolis
from qmcnet.training.evaluation import EvaluationSettings
from qmcnet.training.pretraining import PretrainingSettings
from qmcnet.training.result import Result
from qmcnet.training.vmc import VMC

__all__ = [
    "VMC",
    "EvaluationSettings",
    "FermiNet",
    "FirstOrder",
    "ForwardLaplacian",
    "LocalEnergy",
    "Metropolis",
    "MolecularHamiltonian",
    "Molecule",
    "PretrainingSettings",
    "Result",
    "Spring",
    "TorchFuncLaplacian",
    "build",
    "load",
]
