"""Runs of every kind, made alike by one, two and three processes."""

import copy
import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from qmcnet import VMC, EvaluationSettings, FermiNet, Kfac, Metropolis, Molecule, PretrainingSettings, Spring
from qmcnet.cli.status import outcome, said_by_first
from qmcnet.compute.team import team
from qmcnet.optimizers import FirstOrder
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.stages.diffusion_settings import DiffusionSettings
from qmcnet.states.natural import Natural
from qmcnet.states.penalty import Penalty

CARBON = partial(Molecule, ["C"], [[0.0, 0.0, 0.0]], spin=2, ecp="ccecp")
HELIUM = partial(Molecule.atom, "He")
SMALL = {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2}

DIFFUSED = "spring"
"""Case whose wavefunction guides walkers afterwards."""
STARTED = "started"
"""Directory of a run that starts from that of the first case."""
CASES = {
    "spring": (
        CARBON,
        {},
        {
            "optimizer": Spring,
            "pretraining": PretrainingSettings(steps=4, learning_rate=3e-3),
            "sampler": Metropolis(steps=3, n_blocks=None),
            "steps": 30,
        },
    ),
    "few_parameters": (
        partial(Molecule.atom, "H"),
        {"hidden_one": 2, "hidden_two": 1, "n_determinants": 1, "complex": True},
        {
            "optimizer": partial(Spring, momentum=None),
            "averaging": AveragingSettings("exponential"),
            "batch_size": 67,
        },
    ),
    "adam": (HELIUM, {"complex": True}, {"optimizer": partial(FirstOrder, max_grad_norm=0.5), "steps": 30}),
    "kfac": (
        HELIUM,
        {"n_states": 2},
        {"optimizer": Kfac, "objective": Penalty(), "observables": ["pair"], "steps": 12, "batch_size": 26},
    ),
    "two_states": (
        HELIUM,
        {"n_states": 2},
        {"objective": Natural(spin_penalty=0.3), "observables": ["density", "natural_orbitals", "radial"]},
    ),
}
"""Molecule, network and settings of runs; neither two nor three divides the number of walkers, but once two does."""


def make(name: str, directory: Path, **changes) -> VMC:
    molecule, network, settings = CASES[name]
    defaults = {
        "sampler": Metropolis(steps=3),
        "pretraining": PretrainingSettings(steps=4, basis="6-31g", learning_rate=3e-3),
        "burn_in": BurnInSettings(min_sweeps=4, max_sweeps=5),
        "evaluation": EvaluationSettings(steps=6, min_steps=6, burn_in=2),
        "logging": LoggingSettings(every=4),
        "checkpoints": CheckpointSettings(seconds=0),
        "steps": 8,
        "batch_size": 23,
        "device": "cpu",
    }
    ansatz = FermiNet(molecule(), dtype=torch.float64, **(SMALL | network))
    return VMC(ansatz, directory, **copy.deepcopy(defaults | settings | changes))


def work(folder: Path, names: list[str]) -> int:
    """Train each of some cases; what every process does."""
    for name in names:
        make(name, folder / name).train()
    if DIFFUSED in names:
        make(DIFFUSED, folder / DIFFUSED).diffuse(DiffusionSettings((0.05, 0.03), target_error=None, steps=10))
    make(names[0], folder / STARTED, init_from=folder / names[0], steps=2, batch_size=31).train()
    return 0


class Fault:
    """What goes wrong in one process, after some steps of the optimisation."""

    def __init__(self, kind: str, step: int = 3) -> None:
        self.kind, self.step = kind, step

    def strike(self, run: VMC) -> None:
        """Lie in wait in the process that the fault is meant for."""
        evaluate = run.simulation.hamiltonian.forward

        def later(states):
            energy = evaluate(states)
            self.step -= 1
            if self.step == 0:
                if self.kind == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.kind == "stopped":
                    os.kill(os.getpid(), signal.SIGTERM)
                if self.kind == "memory":
                    raise torch.OutOfMemoryError("out of memory")
                if self.kind == "nan":
                    with torch.no_grad():
                        next(run.ansatz.parameters()).fill_(torch.nan)
            return energy

        run.simulation.hamiltonian.forward = later


def work_with_fault(folder: Path, kind: str) -> int:
    """Train a run in which the second process meets a fault; what every process does."""
    run = make("adam", folder, steps=8)
    if team().rank == 1:
        Fault(kind).strike(run)
    with said_by_first():
        logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
        return outcome(run.train)
