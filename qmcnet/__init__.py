"""Neural-network quantum Monte Carlo in PyTorch: all that a notebook needs, on one screen."""

from qmcnet.ansatz import FermiNet, LapNet, Psiformer, SlaterJastrow
from qmcnet.compute.launch import joined
from qmcnet.config.build import build, load
from qmcnet.laplacian import ForwardLaplacian, TorchFuncLaplacian
from qmcnet.operators import LocalEnergy, MolecularHamiltonian, Operator, States
from qmcnet.optimizers import AveragingSettings, Clipping, FirstOrder, Kfac, Schedule, Spring
from qmcnet.report.result import Result
from qmcnet.run.interruption import Interrupted
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.run.vmc import VMC
from qmcnet.sampling import Metropolis, Walkers, initial_positions
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.stages.evaluation_settings import EvaluationSettings
from qmcnet.stages.pretraining import PretrainingSettings
from qmcnet.states.ensemble import states_at
from qmcnet.states.natural import Natural, NaturalStates
from qmcnet.states.penalty import Penalty, ProductStates
from qmcnet.system.molecule import Molecule

__all__ = [
    "VMC",
    "AveragingSettings",
    "BurnInSettings",
    "CheckpointSettings",
    "Clipping",
    "EvaluationSettings",
    "FermiNet",
    "FirstOrder",
    "ForwardLaplacian",
    "Interrupted",
    "Kfac",
    "LapNet",
    "LocalEnergy",
    "LoggingSettings",
    "Metropolis",
    "MolecularHamiltonian",
    "Molecule",
    "Natural",
    "NaturalStates",
    "Operator",
    "Penalty",
    "PretrainingSettings",
    "ProductStates",
    "Psiformer",
    "Result",
    "Schedule",
    "SlaterJastrow",
    "Spring",
    "States",
    "TorchFuncLaplacian",
    "Walkers",
    "build",
    "initial_positions",
    "joined",
    "load",
    "states_at",
]
