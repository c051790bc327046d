"""Neural-network quantum Monte Carlo in PyTorch."""

from qmcnet.ansatz import FermiNet, LapNet, Psiformer, SlaterJastrow
from qmcnet.config.build import build, load
from qmcnet.hamiltonian import LocalEnergy, MolecularHamiltonian
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.molecule import Molecule
from qmcnet.optimizers import Clipping, FirstOrder, Kfac, Schedule, Spring
from qmcnet.sampling import Metropolis
from qmcnet.training.averaging import AveragingSettings
from qmcnet.training.evaluation import EvaluationSettings
from qmcnet.training.objective import Natural, Penalty
from qmcnet.training.pretraining import PretrainingSettings
from qmcnet.training.result import Result
from qmcnet.training.vmc import VMC

__all__ = [
    "VMC",
    "AveragingSettings",
    "Clipping",
    "EvaluationSettings",
    "FermiNet",
    "FirstOrder",
    "ForwardLaplacian",
    "Kfac",
    "LapNet",
    "LocalEnergy",
    "Metropolis",
    "MolecularHamiltonian",
    "Molecule",
    "Natural",
    "Penalty",
    "PretrainingSettings",
    "Psiformer",
    "Result",
    "Schedule",
    "SlaterJastrow",
    "Spring",
    "TorchFuncLaplacian",
    "build",
    "load",
]
