"""Neural-network quantum Monte Carlo in PyTorch."""

from qmcnet.ansatz import FermiNet, LapNet, Psiformer, SlaterJastrow
from qmcnet.config.build import build, load
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import LocalEnergy, MolecularHamiltonian
from qmcnet.optimizers import Clipping, FirstOrder, Kfac, Schedule, Spring
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.report.result import Result
from qmcnet.run.vmc import VMC
from qmcnet.sampling import Metropolis
from qmcnet.stages.evaluation import EvaluationSettings
from qmcnet.stages.objective import Natural, Penalty
from qmcnet.stages.pretraining import PretrainingSettings
from qmcnet.system.molecule import Molecule

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
