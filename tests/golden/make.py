"""Make the golden run directories of a version: `python make.py FOLDER`, with that version of qmcnet installed.

Each run is so small that its directory takes a few tens of kB. One directory holds the finished run, the others the
same run interrupted in the middle of one stage.
"""

import logging
import shutil
import sys
from pathlib import Path

import torch
from qmcnet.stages.objective import Penalty

from qmcnet import VMC, EvaluationSettings, FermiNet, Kfac, Metropolis, Molecule, PretrainingSettings, Spring
from qmcnet.ansatz import SlaterJastrow
from qmcnet.optimizers import Schedule
from qmcnet.optimizers.averaging import AveragingSettings
from qmcnet.run.interruption import Interrupted, Interruption
from qmcnet.run.intervals import CheckpointSettings, LoggingSettings
from qmcnet.stages.burn_in import BurnInSettings

STAGES = ("pretraining", "burn_in", "optimization", "evaluation")
SIZES = {"n_layers": 1, "hidden_one": 4, "hidden_two": 2, "n_determinants": 1, "dtype": torch.float64, "seed": 3}


def kfac(ansatz):
    return Kfac(ansatz, learning_rate=0.02)


def prime_sr(ansatz):
    return Spring(ansatz, momentum=None)


def network(**options):
    return FermiNet(Molecule.atom("He"), **SIZES, **options)


def classical():
    return SlaterJastrow(Molecule.atom("He"), basis="sto-3g", dtype=torch.float64)


RUNS = {
    "one_state": (network, {}),
    "two_states": (lambda: network(n_states=2), {}),
    "penalty": (lambda: network(n_states=2), {"objective": Penalty()}),
    "kfac": (network, {"optimizer": kfac, "schedule": Schedule("inverse", decay_steps=3)}),
    "prime_sr": (network, {"optimizer": prime_sr, "averaging": AveragingSettings("exponential")}),
    "slater_jastrow": (classical, {}),
    "complex": (lambda: network(complex=True), {}),
}


def make(name, directory):
    build, settings = RUNS[name]
    return VMC(
        build(),
        directory,
        sampler=Metropolis(steps=4),
        pretraining=PretrainingSettings(steps=6, basis="6-31g", learning_rate=3e-3),
        burn_in=BurnInSettings(min_sweeps=5, max_sweeps=8),
        evaluation=EvaluationSettings(steps=40, min_steps=10, burn_in=3),
        logging=LoggingSettings(every=3),
        checkpoints=CheckpointSettings(seconds=3600, keep=1),
        steps=7,
        batch_size=8,
        device="cpu",
        observables=["dipole"] if name == "one_state" else [],
        **settings,
    )


def interrupted_in(stage, run):
    """Run until the middle of a stage."""
    original = Interruption.requested
    steps = 0

    def requested(self):
        nonlocal steps
        newest = max(path.name for path in (run.directory / "checkpoints").glob("[0-9]*.pt"))
        steps += f"-{stage}-" in newest  # a stage begins with a checkpoint
        if steps == (20 if stage == "evaluation" else 4):
            self.reason = "golden"
        return original(self)

    Interruption.requested = requested
    try:
        run.train()
        raise SystemExit(f"{stage} was not interrupted")
    except Interrupted as stop:
        logging.info("%s", stop)
    finally:
        Interruption.requested = original


def main(folder):
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    for name in RUNS:
        directory = folder / name / "finished"
        make(name, directory).train()
        for stage in STAGES:
            if name == "slater_jastrow" and stage == "pretraining":
                continue
            run = make(name, folder / name / stage)
            interrupted_in(stage, run)
    for path in [*folder.rglob("events.out*"), *folder.rglob(".lock"), *folder.rglob("hparams")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
