"""Runs of every kind, made alike by one, two and three processes."""

import copy
from functools import partial
from pathlib import Path

import torch

from qmcnet import VMC, EvaluationSettings, FermiNet, Kfac, Metropolis, Molecule, PretrainingSettings, Spring
from qmcnet.compute.launch import launch
from qmcnet.optimizers import FirstOrder
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings
from qmcnet.states.natural import Natural
from qmcnet.states.penalty import Penalty

LIH = partial(Molecule.diatomic, "Li", "H", bond_length=3.015, units="bohr")
HELIUM = partial(Molecule.atom, "He")
SMALL = {"n_layers": 1, "hidden_one": 8, "hidden_two": 4, "n_determinants": 2}

CASES = {
    "spring": (LIH, {}, {"optimizer": Spring}),
    "minsr": (HELIUM, {}, {"optimizer": partial(Spring, momentum=0.0), "sampler": Metropolis(steps=3, n_blocks=None)}),
    "prime_sr": (LIH, {}, {"optimizer": partial(Spring, momentum=None), "averaging": AveragingSettings("exponential")}),
    "few_parameters": (
        partial(Molecule.atom, "H"),
        {"hidden_one": 2, "hidden_two": 1, "n_determinants": 1, "complex": True},
        {"optimizer": partial(Spring, momentum=None), "batch_size": 67},
    ),
    "kfac": (LIH, {}, {"optimizer": Kfac}),
    "adam": (LIH, {}, {"optimizer": partial(FirstOrder, max_grad_norm=0.5)}),
    "complex": (HELIUM, {"complex": True}, {"optimizer": Spring, "observables": ["pair"]}),
    "two_states": (
        HELIUM,
        {"n_states": 2},
        {"objective": Natural(spin_penalty=0.3), "observables": ["density", "natural_orbitals", "radial"]},
    ),
    "penalty": (HELIUM, {"n_states": 2}, {"objective": Penalty(), "optimizer": Kfac}),
}
"""Molecule, network and settings of runs, of which the number of walkers is divided by neither two nor three."""


def make(name: str, directory: Path, **changes) -> VMC:
    molecule, network, settings = CASES[name]
    defaults = {
        "sampler": Metropolis(steps=3),
        "pretraining": PretrainingSettings(steps=4, basis="6-31g", learning_rate=3e-3),
        "burn_in": BurnInSettings(min_sweeps=4, max_sweeps=5),
        "evaluation": EvaluationSettings(steps=12, min_steps=6, burn_in=2),
        "logging": LoggingSettings(every=4),
        "checkpoints": CheckpointSettings(seconds=0),
        "steps": 30,
        "batch_size": 23,
        "device": "cpu",
    }
    ansatz = FermiNet(molecule(), dtype=torch.float64, **(SMALL | network))
    return VMC(ansatz, directory, **copy.deepcopy(defaults | settings | changes))


def work(folder: Path, names: list[str]) -> int:
    """Train each of some cases; what every process does."""
    for name in names:
        make(name, folder / name).train()
    return 0


if __name__ == "__main__":
    import sys
    import time

    size = int(sys.argv[1])
    names = sys.argv[2:] or list(CASES)
    folder = Path("/tmp/d/ranks") / str(size)
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    t = time.time()
    if size == 1:
        torch.set_num_threads(1)
        work(folder, names)
    else:
        print(launch(work, (folder, names), size))
    print(size, time.time() - t)
